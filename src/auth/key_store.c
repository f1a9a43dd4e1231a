/*
 * key_store.c: which key a token is verified with (auth 2.1, 2.3), and the whole of a verification (auth 4).
 *
 * Static keys come first in the order of lookup, so a token whose kid names one never waits for a URL.
 */
#include "auth/key_store.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdlib.h>

#include "auth/jwks_source.h"
#include "auth/jwks_url.h"
#include "auth/token.h"
#include "auth/token_cache.h"
#include "auth/token_detail.h"
#include "base/alloc.h"
#include "base/clock.h"

#define MAX_WAIT_MS 3000
#define NO_KEY "Could not find an appropriate key in the keystore. The key is missing or no key matched the token KID"

static const char *const supabase_audience[] = {"authenticated"};

struct key_store {
	struct arena arena;
	struct crypto crypto;
	struct claim_rules rules[2]; /* by profile */
	struct key_set *fixed;
	struct jwks_source **sources;
	size_t source_count;
	struct address_rules addresses;
	struct jwks_surroundings around;
	struct token_cache *cache;
	struct supabase_facts supabase;
	int64_t max_wait_ms;
};

static int64_t steady_clock(void *context)
{
	(void)context;
	return clock_mono_ms();
}

static const char *const *copy_strings(struct arena *arena, const char *const *items, size_t count)
{
	const char **out = arena_array(arena, const char *, count + 1);
	for (size_t i = 0; i < count; i++)
		out[i] = arena_cstr(arena, slice_cstr(items[i]));
	return out;
}

static bool import_static_keys(struct key_store *k, const struct auth_config *config, struct error *err)
{
	for (size_t i = 0; i < config->static_key_count; i++) {
		struct json_node jwk;
		struct error ignored;
		bool ok = json_read(config->static_keys[i], JSON_DOUBLES, &k->arena, &jwk, &ignored) ||
		          error_set(err, "PSYNC_S2201", "not JSON");
		if (!ok || !key_set_import(k->fixed, &k->crypto, &jwk, PROFILE_DEFAULT, err))
			return error_prefix(err, "client_auth.jwks.keys[%zu]: ", i);
	}
	if (config->supabase && config->supabase_jwt_secret && *config->supabase_jwt_secret)
		return key_set_add_secret(k->fixed, &k->crypto, slice_cstr(config->supabase_jwt_secret), PROFILE_SUPABASE, err);
	return true;
}

static bool add_source(struct key_store *k, const char *url, enum key_profile profile, struct error *err)
{
	if (!jwks_url_check(url, &k->addresses, err))
		return false;
	k->sources[k->source_count++] = jwks_source_new(url, profile, &k->around);
	return true;
}

static bool add_sources(struct key_store *k, const struct auth_config *config, struct error *err)
{
	k->sources = arena_array(&k->arena, struct jwks_source *, config->jwks_uri_count + 1);
	for (size_t i = 0; i < config->jwks_uri_count; i++)
		if (!add_source(k, config->jwks_uris[i], PROFILE_DEFAULT, err))
			return error_prefix(err, "client_auth.jwks_uri[%zu]: ", i);
	if (config->supabase && config->supabase_jwks_uri)
		return add_source(k, config->supabase_jwks_uri, PROFILE_SUPABASE, err);
	return true;
}

static void set_rules(struct key_store *k, const struct auth_config *config)
{
	k->rules[PROFILE_DEFAULT] = (struct claim_rules){
	        .audience = copy_strings(&k->arena, config->audience, config->audience_count),
	        .audience_count = config->audience_count,
	        .max_lifetime = LIFETIME_DEFAULT,
	};
	k->rules[PROFILE_SUPABASE] = (struct claim_rules){
	        .audience = supabase_audience,
	        .audience_count = 1,
	        .max_lifetime = LIFETIME_SUPABASE,
	};
	k->addresses = (struct address_rules){
	        .ranges = copy_strings(&k->arena, config->reject_ip_ranges, config->reject_ip_range_count),
	        .range_count = config->reject_ip_range_count,
	        .block_ipv6 = config->block_ipv6,
	};
	k->supabase = (struct supabase_facts){
	        .enabled = config->supabase,
	        .has_secret = config->supabase && config->supabase_jwt_secret && *config->supabase_jwt_secret,
	        .jwks_uri = config->supabase_jwks_uri ? arena_cstr(&k->arena, slice_cstr(config->supabase_jwks_uri)) : NULL,
	};
}

static void start_curl(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct key_store *key_store_new_with(const struct auth_config *config, const struct key_store_parts *parts, const struct log *log,
                                     struct error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, start_curl);
	struct key_store *k = xcalloc(1, sizeof(*k));
	k->fixed = key_set_new();
	k->cache = token_cache_new();
	set_rules(k, config);
	k->max_wait_ms = parts->max_wait_ms ? parts->max_wait_ms : MAX_WAIT_MS;
	k->around.crypto = &k->crypto;
	k->around.log = log;
	k->around.fetch = parts->fetch ? parts->fetch : jwks_fetch_http;
	k->around.fetch_context = parts->fetch ? parts->fetch_context : &k->addresses;
	k->around.now_ms = parts->now_ms ? parts->now_ms : steady_clock;
	k->around.clock_context = parts->clock_context;
	k->around.keep_folder = config->keep_folder ? arena_cstr(&k->arena, slice_cstr(config->keep_folder)) : NULL;
	atomic_init(&k->around.generation, 0);
	if (crypto_init(&k->crypto, err) && import_static_keys(k, config, err) && add_sources(k, config, err))
		return k;
	key_store_free(k);
	return NULL;
}

struct key_store *key_store_new(const struct auth_config *config, const struct log *log, struct error *err)
{
	return key_store_new_with(config, &(struct key_store_parts){0}, log, err);
}

void key_store_free(struct key_store *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < k->source_count; i++)
		jwks_source_free(k->sources[i]);
	token_cache_free(k->cache);
	key_set_unref(k->fixed);
	crypto_free(&k->crypto);
	arena_free(&k->arena);
	free(k);
}

void key_store_ask(struct key_store *k)
{
	for (size_t i = 0; i < k->source_count; i++)
		jwks_source_ask(k->sources[i]);
}

/* One verification in progress. */
struct lookup {
	struct key_store *k;
	const struct token *token;
	struct key_set **remote; /* a reference each */
	bool failed;             /* some source has an error: the first */
	struct error failure;
	bool decided, verified; /* a kid was matched: no other key is tried */
	const struct key *key;
	struct error *err;
};

static bool by_kid(struct lookup *l, const struct key_set *set)
{
	for (size_t i = 0; set && l->token->kid.n && i < set->count; i++) {
		const struct key *key = &set->keys[i];
		if (!key->kid.p || !slice_eq(key->kid, l->token->kid))
			continue;
		l->decided = true;
		l->key = key;
		if (!key_fits(key, l->token->alg))
			return error_set(l->err, "PSYNC_S2101", "Unexpected token algorithm %s", algorithm_name(l->token->alg));
		l->verified = key_verify(key, &l->k->crypto, l->token->alg, l->token->signed_text, l->token->signature, l->err);
		return l->verified;
	}
	return false;
}

static bool by_wildcard(struct lookup *l, const struct key_set *set)
{
	struct error ignored;
	for (size_t i = 0; set && i < set->count; i++) {
		const struct key *key = &set->keys[i];
		if (key->kid.p || !key_fits(key, l->token->alg) ||
		    !key_verify(key, &l->k->crypto, l->token->alg, l->token->signed_text, l->token->signature, &ignored))
			continue;
		l->decided = l->verified = true;
		l->key = key;
		return true;
	}
	return false;
}

/* All sources are asked before the first is waited for. */
static void ask_sources(struct lookup *l, struct arena *arena)
{
	struct key_store *k = l->k;
	bool *waits = arena_calloc(arena, k->source_count + 1);
	l->remote = arena_calloc(arena, (k->source_count + 1) * sizeof(*l->remote));
	int64_t deadline = clock_mono_ms() + k->max_wait_ms;
	for (size_t i = 0; i < k->source_count; i++)
		waits[i] = jwks_source_use(k->sources[i]);
	for (size_t i = 0; i < k->source_count; i++) {
		struct error failure;
		bool has_error;
		if (waits[i])
			jwks_source_wait(k->sources[i], deadline);
		l->remote[i] = jwks_source_keys(k->sources[i], waits[i], &has_error, &failure);
		if (has_error && !l->failed) {
			l->failed = true;
			l->failure = failure;
		}
	}
}

static bool no_key(struct lookup *l)
{
	struct key_store *k = l->k;
	for (size_t i = 0; i < k->source_count; i++)
		jwks_source_no_key(k->sources[i]);
	return error_set(l->err, "PSYNC_S2101", NO_KEY);
}

/* Auth 2.3. The key stays valid while the references in l->remote are held. */
static bool choose_key(struct lookup *l, struct arena *arena)
{
	struct key_store *k = l->k;
	size_t n = k->source_count;
	if (by_kid(l, k->fixed) || l->decided)
		return l->verified;
	if (n)
		ask_sources(l, arena);
	for (size_t i = 0; i < n && !l->decided; i++)
		by_kid(l, l->remote[i]);
	if (!l->decided)
		by_wildcard(l, k->fixed);
	for (size_t i = 0; i < n && !l->decided; i++)
		by_wildcard(l, l->remote[i]);
	if (l->decided)
		return l->verified;
	if (l->failed) {
		*l->err = l->failure;
		return false;
	}
	return no_key(l);
}

static void release(struct lookup *l)
{
	for (size_t i = 0; l->remote && i < l->k->source_count; i++)
		key_set_unref(l->remote[i]);
}

static bool verify_signature(struct key_store *k, const struct token *t, struct arena *arena, enum key_profile *profile,
                             struct supabase_facts *facts, struct error *err)
{
	struct lookup l = {.k = k, .token = t, .err = err};
	bool ok = choose_key(&l, arena);
	if (l.key)
		*profile = l.key->profile;
	facts->no_key = !l.decided;
	release(&l);
	return ok;
}

static int64_t whole_seconds(double v)
{
	if (!(v > -9e15))
		return INT64_MIN;
	return v >= 9e15 ? (int64_t)9e15 : (int64_t)v - (v < (double)(int64_t)v);
}

static bool from_cache(struct key_store *k, const unsigned char digest[32], uint64_t generation, int64_t now_s,
                       struct arena *arena, struct verified_token *out, struct error *err, bool *valid)
{
	struct cached_token c;
	if (!token_cache_get(k->cache, digest, generation, arena, &c))
		return false;
	*out = (struct verified_token){.payload = c.payload, .user_id = c.user_id, .expires_at_s = whole_seconds(c.exp)};
	*valid = token_check_times(c.exp, c.nbf, now_s, err);
	return true;
}

bool key_store_verify(struct key_store *k, struct slice text, int64_t now_s, struct arena *arena, struct verified_token *out,
                      struct token_refusal *refusal, struct error *err)
{
	struct token t = {0};
	enum key_profile profile = PROFILE_DEFAULT;
	struct supabase_facts facts = k->supabase;
	unsigned char digest[32];
	bool valid;
	if (refusal)
		*refusal = (struct token_refusal){{NULL, 0}, {NULL, 0}};

	/* Keeps the sources fresh (their keys have a say in whether a remembered token still counts), but never waits. */
	for (size_t i = 0; i < k->source_count; i++)
		jwks_source_use(k->sources[i]);
	uint64_t generation = atomic_load(&k->around.generation);
	EVP_Digest(text.p, text.n, digest, NULL, k->crypto.sha256, NULL);
	if (from_cache(k, digest, generation, now_s, arena, out, err, &valid) && valid)
		return true;

	bool parsed = token_parse(text, arena, &t, err);
	if (parsed && verify_signature(k, &t, arena, &profile, &facts, err) && token_read_payload(&t, arena, err) &&
	    token_check_claims(&t, &k->rules[profile], now_s, arena, err)) {
		*out = (struct verified_token){
		        .payload = t.payload_text,
		        .user_id = token_user_id(&t, arena),
		        .expires_at_s = whole_seconds(t.exp),
		};
		struct cached_token c = {.payload = out->payload, .user_id = out->user_id, .exp = t.exp, .nbf = t.nbf};
		token_cache_put(k->cache, digest, generation, now_s, &c);
		return true;
	}
	if (refusal) {
		struct detail_keys keys = {.fixed = k->fixed, .rules = &k->rules[PROFILE_DEFAULT]};
		*refusal = token_detail(text, parsed ? &t : NULL, &keys, &facts, arena);
	}
	return false;
}

/* ---- for the operator ---- */

static struct slice describe_key(const struct key *key, struct arena *arena)
{
	static const char *const types[] = {"RSA", "oct", "EC", "OKP"};
	struct slice kid = key->kid.p ? key->kid : SLICE("*");
	return arena_printf(arena, "<kid: %.*s, kty: %s%s%s>", kid.n > 200 ? 200 : (int)kid.n, kid.p, types[key->type],
	                    key->has_alg ? ", alg: " : "", key->has_alg ? key->alg_name : "");
}

static void trace_set(struct lookup *l, const struct key_set *set, const char *source, struct arena *arena, struct slice *known,
                      struct token_trace *out)
{
	for (size_t i = 0; set && i < set->count; i++) {
		const struct key *key = &set->keys[i];
		const char *name =
		        key->profile == PROFILE_SUPABASE && set == l->k->fixed ? "client_auth.supabase_jwt_secret" : source;
		struct slice text = describe_key(key, arena);
		known[out->known_count++] = arena_printf(arena, "%.*s from %s", SLICE_ARG(text), name);
		if (key != l->key)
			continue;
		out->key = text;
		out->key_source = slice_cstr(name);
	}
}

static void trace_keys(struct lookup *l, struct arena *arena, struct token_trace *out)
{
	struct key_store *k = l->k;
	size_t count = k->fixed->count;
	if (!l->remote && k->source_count)
		ask_sources(l, arena);
	for (size_t i = 0; i < k->source_count; i++)
		count += l->remote[i] ? l->remote[i]->count : 0;
	struct slice *known = arena_array(arena, struct slice, count + 1);
	out->known = known;
	trace_set(l, k->fixed, "client_auth.jwks.keys", arena, known, out);
	for (size_t i = 0; i < k->source_count; i++)
		trace_set(l, l->remote[i], jwks_source_url(k->sources[i]), arena, known, out);
}

void key_store_trace(struct key_store *k, struct slice text, int64_t now_s, struct arena *arena, struct token_trace *out)
{
	struct token t = {0};
	struct error ignored;
	*out = (struct token_trace){.err = {.code = ""}};
	struct lookup l = {.k = k, .token = &t, .err = &out->err};
	enum key_profile profile = PROFILE_DEFAULT;
	bool parsed = token_parse(text, arena, &t, &out->err);
	bool ok = parsed && choose_key(&l, arena);
	trace_keys(&l, arena, out);
	if (l.key)
		profile = l.key->profile;
	release(&l);
	const struct claim_rules *rules = &k->rules[profile];
	out->valid = ok && token_read_payload(&t, arena, &out->err) && token_check_claims(&t, rules, now_s, arena, &out->err);
	if (!t.payload_text.p && parsed)
		token_read_payload(&t, arena, &ignored);
	out->header = t.header_text;
	out->payload = t.payload_text;
	out->algorithm = parsed ? slice_cstr(algorithm_name(t.alg)) : SLICE("");
	out->kid = t.kid;
	out->audience = rules->audience;
	out->audience_count = rules->audience_count;
	out->max_lifetime_s = rules->max_lifetime;
}
