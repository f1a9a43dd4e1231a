/* supabase.c: the JWKS URL that belongs to a Supabase database (auth 2.1). */
#include "config/load.h"
#include "config/supabase.h"
#include "config/uri.h"

const char *config_supabase_jwks_uri(const char *hostname, struct arena *arena)
{
	struct slice host = slice_cstr(hostname), prefix = SLICE("db."), suffix = SLICE(".supabase.co");
	if (!host.p || !slice_starts(host, prefix) || !slice_ends(host, suffix) || host.n <= prefix.n + suffix.n)
		return NULL;
	struct slice ref = slice_make(host.p + prefix.n, host.n - prefix.n - suffix.n);
	for (size_t i = 0; i < ref.n; i++) {
		char c = ref.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
			return NULL;
	}
	return arena_printf(arena, "https://%.*s.supabase.co/auth/v1/.well-known/jwks.json", SLICE_ARG(ref)).p;
}

const char *supabase_uri_of_source(const struct node *section, struct arena *arena)
{
	struct uri uri;
	const char *hostname = node_text(node_get(section, "hostname"), NULL);
	if (strcmp(node_text(node_get(section, "type"), ""), "postgresql") != 0)
		return NULL;
	if (!hostname && uri_split(slice_cstr(node_text(node_get(section, "uri"), "")), arena, &uri))
		hostname = uri.host.p;
	return config_supabase_jwks_uri(hostname, arena);
}
