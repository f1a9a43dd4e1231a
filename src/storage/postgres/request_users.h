/*
 * request_users.h: checkpoint requests of users in the shared layout: records of write_checkpoints, as the reference has them, and beside them
 * what Syncline keeps of a user (side table syncline_requests).
 *
 * The side table is keyed by subject and client id as two fields, and has the whole queue. write_checkpoints is keyed by one text, in which both
 * are joined by a '/': that can be read in several ways. Each text belongs to the reading that real clients have: no '/', no client id;
 * else the last '/' parts them, because the SDKs' client ids have none. Whoever comes with another reading of it has no record there, but
 * in the side table only, so that nobody can move or see another one's record.
 *
 * The record there is the newest association with a known head. If it is not the one that the side table has as such, the reference wrote
 * it, and it joins the queue (user_adopt).
 *
 * Two processes may store for one user at the same time. Nothing is locked between reading and writing: each record has a version, and what was
 * changed in between is not overwritten but comes back as lost, to be read again.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_REQUEST_USERS_H
#define SYNCLINE_STORAGE_POSTGRES_REQUEST_USERS_H

#include "storage/postgres/store.h"
#include "storage/write_checkpoints.h"

/* Users that one statement concerns. */
#define PG_USERS_STEP 500

struct pg_user {
	struct slice key; /* encoded (user_key_encode); set by the caller, with everything else zero */
	/* pg_users_name: */
	struct slice row_key, full_key; /* of the side table; full_key: only if row_key is a hash */
	struct slice text;              /* user_id in write_checkpoints; p == NULL: no record there */
	uint8_t hash[16];
	/* pg_users_load: */
	int64_t version;                  /* of the side table's record; 0: none */
	bool found;                       /* in one of the tables */
	bool adopted;                     /* the queue got an association that the reference wrote: to be stored */
	bool has_floor;                   /* a record of the user was removed once */
	struct user_record before, after; /* after: to be changed */
	/* pg_users_store: */
	bool lost; /* somebody else changed it in between */
};

/* Fills in names, in the arena. */
void pg_user_name(struct pg_user *u, struct arena *arena);
/* The user that a text belongs to, as an encoded key. */
void pg_user_of_text(struct buf *key, struct slice text);

/* At most PG_USERS_STEP users, whose names are filled in. */
bool pg_users_load(struct pg_store *store, struct pg_user *users, size_t count, struct error *err);

/* Heads that the write brings: one row of syncline_request_heads for each. */
struct pg_heads {
	struct pg_head {
		struct position head;
		int64_t id;
		struct buf users; /* keys, each with its length before it */
	} * items;
	size_t count, cap;
};
void pg_heads_add(struct pg_heads *h, struct position head, struct slice key);
void pg_heads_free(struct pg_heads *h);

/* Stores the records `after` of these users (sorted by row_key), and the heads, in one statement; other processes are told (requests.h).
 * waiting: one of them waits for a head. Users who are lost do not hurt others. */
bool pg_users_store(struct pg_store *store, struct pg_user **users, size_t count, struct pg_heads *heads, bool waiting,
                    struct error *err);

/* A statement with a time in ms as $1[1]; binary. */
struct pg_array;
PGresult *pg_ms_query(struct pg_store *store, const char *sql, int64_t ms, struct pg_array *const *arrays, int count,
                      struct error *err);
/* A statement for users, PG_USERS_STEP at a time: $1[1] is a time in ms, $2 their texts in write_checkpoints (NULL: none), $3 their row_keys. */
bool pg_users_by_steps(struct pg_store *store, const char *sql, int64_t ms, const struct user_key *users, size_t count,
                       struct error *err);

/* Sorts for pg_users_store. */
int pg_user_compare(const void *a, const void *b); /* of struct pg_user *const * */

#endif
