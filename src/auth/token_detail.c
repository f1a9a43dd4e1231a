/* token_detail.c: see token_detail.h. */
#include "auth/token_detail.h"

#include "base/utf8.h"
#include "base/buf.h"

#define MAX_PART 1000 /* bytes shown of header and payload each */
#define MAX_KEYS_SHOWN 20

/* The text comes from outside and is not verified: it must not be able to make lines of its own. */
static void append_limited(struct buf *out, struct slice s, struct arena *arena)
{
	buf_slice_append(out, utf8_shown(s, MAX_PART, arena));
	if (s.n > MAX_PART)
		buf_lit(out, "...");
}

static void describe_form(struct buf *out, struct slice text)
{
	size_t parts = 1;
	for (size_t i = 0; i < text.n; i++)
		parts += text.p[i] == '.';
	if (parts != 3)
		buf_printf(out, "the token has %zu parts and %zu bytes; a JWT has 3 parts", parts, text.n);
	else
		buf_printf(out, "the header of the token cannot be used; it has %zu bytes", text.n);
}

static void describe_keys(struct buf *out, const struct detail_keys *keys)
{
	static const char *const types[] = {"RSA", "oct", "EC", "OKP"};
	buf_lit(out, "keys: [");
	for (size_t i = 0; i < keys->fixed->count && i < MAX_KEYS_SHOWN; i++) {
		const struct key *k = &keys->fixed->keys[i];
		struct slice kid = k->kid.p ? k->kid : SLICE("*");
		buf_printf(out, "%s<kid: %.*s, kty: %s", i ? ", " : "", kid.n > 100 ? 100 : (int)kid.n, kid.p, types[k->type]);
		if (k->has_alg)
			buf_printf(out, ", alg: %s", k->alg_name);
		buf_printf(out, "%s>", k->profile == PROFILE_SUPABASE ? ", aud: authenticated" : "");
	}
	buf_lit(out, "], audience: [");
	for (size_t i = 0; i < keys->rules->audience_count && i < MAX_KEYS_SHOWN; i++)
		buf_printf(out, "%s%.100s", i ? ", " : "", keys->rules->audience[i]);
	buf_putc(out, ']');
}

/* "https://REF.supabase.co/..." -> REF */
static struct slice project_of(struct slice url)
{
	if (!url.p)
		return SLICE("");
	struct slice rest = slice_drop(url, slice_starts(url, SLICE("https://")) ? 8 : 0);
	const char *dot = rest.n ? memchr(rest.p, '.', rest.n) : NULL;
	return slice_make(rest.p, dot ? (size_t)(dot - rest.p) : 0);
}

static bool contains(struct slice s, struct slice part)
{
	for (; s.n >= part.n; s = slice_drop(s, 1))
		if (slice_starts(s, part))
			return true;
	return false;
}

static bool is_uuid(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		if (dash ? s.p[i] != '-' : !strchr("0123456789abcdefABCDEF", s.p[i]) || !s.p[i])
			return false;
	}
	return s.n == 36;
}

static void hint_secret(struct buf *out, const struct token *t, const struct supabase_facts *facts)
{
	const char *name = is_uuid(t->kid) ? "HS256 (Shared Secret)" : "Legacy HS256 (Shared Secret)";
	if (!facts->has_secret)
		buf_printf(out,
		           "; the token is signed with the Supabase key \"%s\", but client_auth.supabase_jwt_secret is not set",
		           name);
	else
		buf_printf(out,
		           "; the token is signed with the Supabase key \"%s\", which is not client_auth.supabase_jwt_secret",
		           name);
}

/* Only for tokens that say that Supabase issued them and for which there is no key. */
static void hint_supabase(struct buf *out, const struct token *t, const struct supabase_facts *facts, struct arena *arena)
{
	const struct json_node *iss = json_find(&t->payload, SLICE("iss"));
	if (!facts->no_key || !iss || iss->kind != JSON_KIND_STRING || !contains(iss->s, SLICE("supabase.co")))
		return;
	struct slice issuer = utf8_shown(project_of(iss->s), 60, arena), project = project_of(slice_cstr(facts->jwks_uri));
	if (t->alg == ALG_HS256)
		hint_secret(out, t, facts);
	else if (!facts->enabled)
		buf_lit(out, "; the token is signed with a Supabase signing key, but client_auth.supabase is not true");
	else if (!facts->jwks_uri)
		buf_lit(out, "; the token is signed with a Supabase signing key, but the source is not a Supabase database: give "
		             "its JWKS URL");
	else if (!slice_eq(issuer, project))
		buf_printf(out, "; the token comes from the Supabase project \"%.*s\", the source is \"%.*s\"", SLICE_ARG(issuer),
		           SLICE_ARG(project));
	else
		buf_lit(out, "; the token comes from the right Supabase project, but none of its keys matches");
}

struct token_refusal token_detail(struct slice text, struct token *t, const struct detail_keys *keys,
                                  const struct supabase_facts *facts, struct arena *arena)
{
	struct buf out = {0};
	struct token_refusal refusal;
	struct error ignored;
	if (!t) {
		describe_form(&out, text);
	} else if (t->payload_text.p || token_read_payload(t, arena, &ignored)) {
		buf_lit(&out, "<header: ");
		append_limited(&out, t->header_text, arena);
		buf_lit(&out, " payload: ");
		append_limited(&out, t->payload_text, arena);
		buf_putc(&out, '>');
	} else {
		buf_lit(&out, "the payload of the token is not JSON");
	}
	refusal.token = arena_copy(arena, buf_slice(&out));
	buf_clear(&out);
	describe_keys(&out, keys);
	if (t && t->payload_text.p)
		hint_supabase(&out, t, facts, arena);
	refusal.configuration = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return refusal;
}
