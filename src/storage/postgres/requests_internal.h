/* requests_internal.h: checkpoint requests of one process, as the files request*.c of this folder share them. */
#ifndef SYNCLINE_STORAGE_POSTGRES_REQUESTS_INTERNAL_H
#define SYNCLINE_STORAGE_POSTGRES_REQUESTS_INTERNAL_H

#include <stdatomic.h>

#include "storage/postgres/request_users.h"
#include "storage/postgres/requests.h"
#include "storage/request_batch.h"

/* A head that was not passed when it was heard of, and who stored it. */
struct known_head {
	struct position head;
	int64_t id;
};

struct pg_requests {
	struct pg_store *store;
	struct storage *s;
	int64_t tag; /* upper half of the ids of heads that this process stores */
	_Atomic uint32_t next_id;
	_Atomic bool look_again; /* a record could not be read: who was to be told is not known */
	_Atomic bool heads_wait; /* another process stored a request without a head */

	pthread_mutex_t lock;
	struct known_head *heads; /* ascending; those beyond the served position, and some below */
	size_t head_count, head_cap;
};

static inline struct pg_requests *pg_requests_of(const struct storage *s)
{
	return pg_store_of(s)->requests;
}

/* ---- request_news.c */
void known_head_add(struct pg_requests *r, struct position head, int64_t id);

/* ---- request_edit.c: reading and changing the records of many users, a step at a time, again where somebody else was faster. */
struct users_edit {
	struct pg_requests *r;
	/* Changes u->after, whose names are set; false: nothing is to be stored. May be called again for a user who was lost. */
	bool (*change)(void *ctx, size_t index, struct pg_user *u);
	/* What is stored of a user, or was found, when nothing is left to be done. May be NULL. */
	void (*done)(void *ctx, size_t index, const struct pg_user *u);
	void *ctx;
};
/* keys: encoded users, each once. */
bool users_edit(const struct users_edit *e, const struct slice *keys, size_t count, struct error *err);

#endif
