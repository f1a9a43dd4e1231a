/*
 * jwks_source.h: one JWKS URL in use: its state under a lock, its fetches on a thread of their own (auth 3.3).
 *
 * Any thread may use it. A thread lives only while a fetch is running, at most one per source.
 */
#ifndef SYNCLINE_AUTH_JWKS_SOURCE_H
#define SYNCLINE_AUTH_JWKS_SOURCE_H

#include "auth/jwks_fetch.h"
#include "auth/jwks_state.h"
#include "base/log.h"

struct jwks_source;

/* What the sources of one key store share; stays valid until they are freed. */
struct jwks_surroundings {
	const struct crypto *crypto;
	const struct log *log;
	jwks_fetch_fn *fetch;
	void *fetch_context;
	int64_t (*now_ms)(void *context);
	void *clock_context;
	const char *keep_folder;         /* for jwks_kept.h; NULL: none */
	atomic_uint_fast64_t generation; /* goes up whenever the keys of a source become others */
};

/* Begins with the keys that were kept, if they would still be valid without a restart; the first use asks for new ones all the same. */
struct jwks_source *jwks_source_new(const char *url, enum key_profile profile, struct jwks_surroundings *around);
void jwks_source_free(struct jwks_source *s);

/* A token is being verified: starts a fetch if one is due. True: the answer has to be waited for. Does not block. */
bool jwks_source_use(struct jwks_source *s);
/* The same before there is a token, so that the first one has nothing to wait for; a failure is a warning then. */
void jwks_source_ask(struct jwks_source *s);
/* Waits for the fetch in flight until deadline_ms of clock_mono_ms. */
void jwks_source_wait(struct jwks_source *s, int64_t deadline_ms);
/* The keys (a reference, or NULL) and whether there is an error. waited: an unfinished fetch is then an error too. */
struct key_set *jwks_source_keys(struct jwks_source *s, bool waited, bool *has_error, struct error *err);
/* For messages: without user name and password. */
const char *jwks_source_url(const struct jwks_source *s);
void jwks_source_no_key(struct jwks_source *s);

#endif
