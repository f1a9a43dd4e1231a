/* compare.c: has anything but the sync config changed in a configuration that is read again? */
#include <string.h>

#include "config/config.h"

static bool same_text(const char *a, const char *b)
{
	return (!a && !b) || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const struct config_string_list *a, const struct config_string_list *b)
{
	bool same = a->count == b->count;
	for (size_t i = 0; same && i < a->count; i++)
		same = same_text(a->items[i], b->items[i]);
	return same;
}

/* What config_print does not show. */
static bool same_secrets(const struct config *a, const struct config *b)
{
	bool same = a->client_auth.static_key_count == b->client_auth.static_key_count;
	for (size_t i = 0; same && i < a->client_auth.static_key_count; i++)
		same = slice_eq(a->client_auth.static_keys[i], b->client_auth.static_keys[i]);
	return same && same_text(a->source.password, b->source.password) && same_text(a->source.cacert, b->source.cacert) &&
	       same_text(a->source.client_certificate, b->source.client_certificate) &&
	       same_text(a->source.client_private_key, b->source.client_private_key) &&
	       same_text(a->client_auth.supabase_jwt_secret, b->client_auth.supabase_jwt_secret) &&
	       same_list(&a->api.tokens, &b->api.tokens);
}

static void print_rest(const struct config *c, struct buf *out)
{
	struct config rest = *c;
	memset(&rest.sync_config, 0, sizeof(rest.sync_config));
	config_print(&rest, true, out);
}

bool config_same_but_sync_config(const struct config *a, const struct config *b)
{
	struct buf x = {0}, y = {0};
	print_rest(a, &x);
	print_rest(b, &y);
	bool same = slice_eq(buf_slice(&x), buf_slice(&y)) && same_secrets(a, b);
	buf_free(&x);
	buf_free(&y);
	return same;
}
