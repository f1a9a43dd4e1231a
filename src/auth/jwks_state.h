/*
 * jwks_state.h: the cache of one JWKS URL as a state machine (auth 3.3): no clock, no network, no threads of its own.
 *
 * The caller holds a lock around each call, says what time it is, makes the requests that it is told to make and reports how they
 * ended. Times are milliseconds of any steady clock.
 */
#ifndef SYNCLINE_AUTH_JWKS_STATE_H
#define SYNCLINE_AUTH_JWKS_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/key.h"

struct jwks_limiter {
	bool used;
	double capacity; /* 0..10 */
	int64_t last_asked, last_granted;
	bool granted_before;
};

struct jwks_state {
	struct key_set *keys; /* NULL: none */
	bool has_error;
	struct error error; /* the one of the last failed fetch */
	bool fetched_before;
	int64_t last_ok; /* of the last successful or softly failed fetch */
	bool started_before;
	int64_t last_start;
	bool failed, in_flight;
	struct jwks_limiter limiter;
	uint64_t changes; /* counts how often the keys became others, or none */
};

enum {
	JWKS_START = 1, /* begin a fetch */
	JWKS_WAIT = 2,  /* there is nothing to answer with until the fetch in flight has ended (at most 3 s) */
};

/* A token is being verified. Afterwards keys and error are the answer, unless JWKS_WAIT says to wait first. */
unsigned jwks_state_use(struct jwks_state *s, int64_t now);
/* That token found no key anywhere. */
unsigned jwks_state_no_key(struct jwks_state *s, int64_t now);

enum jwks_outcome {
	JWKS_OK,
	JWKS_SOFT, /* the answer was JSON, but no JWKS */
	JWKS_HARD,
};

/* The longest that keys are used after the fetch that brought them, in milliseconds. */
#define JWKS_MAX_AGE (60 * 60000)
/* Keys that an earlier process fetched age_ms ago; before the first use. They pass to the state. */
void jwks_state_restore(struct jwks_state *s, int64_t now, int64_t age_ms, struct key_set *keys);

/* keys (JWKS_OK) pass to the state; err is the reason of the other two. */
void jwks_state_fetched(struct jwks_state *s, int64_t now, enum jwks_outcome outcome, struct key_set *keys,
                        const struct error *err);
void jwks_state_free(struct jwks_state *s);

#endif
