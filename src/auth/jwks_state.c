/* jwks_state.c: see jwks_state.h. */
#include "auth/jwks_state.h"

#define MINUTE 60000
#define REFRESH_AFTER (5 * MINUTE)
#define BURST 10.0

/* The more of the burst is used up, the longer the pause; in the end one a minute. */
static bool limiter_allows(struct jwks_limiter *l, int64_t now)
{
	if (!l->used) {
		l->used = true;
		l->capacity = BURST;
		l->last_asked = now;
	}
	l->capacity += (double)(now - l->last_asked) / MINUTE;
	if (l->capacity > BURST)
		l->capacity = BURST;
	l->last_asked = now;
	double spent = BURST - l->capacity;
	double pause = spent * spent / 100 * MINUTE;
	if (l->capacity < 1 || (l->granted_before && (double)(now - l->last_granted) < pause))
		return false;
	l->capacity -= 1;
	l->last_granted = now;
	l->granted_before = true;
	return true;
}

static void set_keys(struct jwks_state *s, struct key_set *keys)
{
	bool same = s->keys && keys && memcmp(s->keys->digest, keys->digest, sizeof(keys->digest)) == 0;
	if (!same && (s->keys || keys))
		s->changes++;
	key_set_unref(s->keys);
	s->keys = keys;
}

static bool is_stale(const struct jwks_state *s, int64_t now)
{
	return !s->fetched_before || now - s->last_ok > JWKS_MAX_AGE;
}

static unsigned want_fetch(struct jwks_state *s, int64_t now)
{
	if (s->in_flight || !limiter_allows(&s->limiter, now))
		return 0;
	s->in_flight = true;
	s->started_before = true;
	s->last_start = now;
	return JWKS_START;
}

unsigned jwks_state_use(struct jwks_state *s, int64_t now)
{
	bool stale = is_stale(s, now);
	unsigned result = 0;
	if (stale)
		set_keys(s, NULL);
	if (s->failed || !s->started_before || now - s->last_start >= REFRESH_AFTER)
		result = want_fetch(s, now);
	return stale && s->in_flight ? result | JWKS_WAIT : result;
}

unsigned jwks_state_no_key(struct jwks_state *s, int64_t now)
{
	return want_fetch(s, now);
}

void jwks_state_restore(struct jwks_state *s, int64_t now, int64_t age_ms, struct key_set *keys)
{
	set_keys(s, keys);
	s->fetched_before = true;
	s->last_ok = now - age_ms;
}

void jwks_state_fetched(struct jwks_state *s, int64_t now, enum jwks_outcome outcome, struct key_set *keys,
                        const struct error *err)
{
	s->in_flight = false;
	s->has_error = outcome != JWKS_OK;
	if (s->has_error)
		s->error = *err;
	s->failed = outcome == JWKS_HARD;
	if (outcome == JWKS_HARD)
		return;
	set_keys(s, keys);
	s->fetched_before = true;
	s->last_ok = now;
}

void jwks_state_free(struct jwks_state *s)
{
	key_set_unref(s->keys);
	s->keys = NULL;
}
