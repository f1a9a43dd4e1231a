/* jwks_server.h: a stub of the server behind a JWKS URL, and a clock, for tests of key stores. */
#ifndef SYNCLINE_TESTS_AUTH_JWKS_SERVER_H
#define SYNCLINE_TESTS_AUTH_JWKS_SERVER_H

#include "signing.h"

#include <pthread.h>
#include <time.h>

#define REMOTE_HEADER "{\"alg\":\"EdDSA\",\"kid\":\"remote\"}"
#define REMOTE_PAYLOAD "{" CLAIMS "}"

struct server {
	pthread_mutex_t lock;
	struct buf body;
	bool down, hangs;
	int fetches, waiting;
	int64_t now;
};

static inline bool fetch(void *context, const char *url, const atomic_bool *stop, struct buf *body, char cause[JWKS_CAUSE_SIZE])
{
	(void)url;
	struct server *s = context;
	pthread_mutex_lock(&s->lock);
	s->fetches++;
	bool ok = !s->down, hangs = s->hangs;
	buf_append(body, s->body.p, s->body.n);
	pthread_mutex_unlock(&s->lock);
	while (hangs && !atomic_load(stop))
		usleep(1000);
	snprintf(cause, JWKS_CAUSE_SIZE, "down");
	return ok && !hangs;
}

static inline int64_t now_ms(void *context)
{
	struct server *s = context;
	pthread_mutex_lock(&s->lock);
	int64_t now = s->now;
	pthread_mutex_unlock(&s->lock);
	return now;
}

static inline void set_now(struct server *s, int64_t now)
{
	pthread_mutex_lock(&s->lock);
	s->now = now;
	pthread_mutex_unlock(&s->lock);
}

static inline int fetches(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	int n = s->fetches;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static inline void serve(struct server *s, const char *kid, EVP_PKEY *key)
{
	pthread_mutex_lock(&s->lock);
	buf_clear(&s->body);
	buf_lit(&s->body, "{\"keys\":[");
	if (key)
		append_ed25519_jwk(&s->body, kid, key);
	buf_lit(&s->body, "]}");
	pthread_mutex_unlock(&s->lock);
}

static inline EVP_PKEY *new_key(void)
{
	return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

/* A background fetch has ended when a later use sees its keys; waits until the condition holds. */
#define eventually(condition)                                                                                                    \
	do {                                                                                                                     \
		int tries = 0;                                                                                                   \
		while (!(condition) && tries++ < 2000)                                                                           \
			usleep(1000);                                                                                            \
		assert_true(tries < 2000);                                                                                       \
	} while (0)

#endif
