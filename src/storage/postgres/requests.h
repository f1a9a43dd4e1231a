/*
 * requests.h: checkpoint requests on the shared layout (checkpoint-requests.md), several processes on one store.
 *
 * Whom an association concerns is told by the channel PG_REQUESTS_CHANNEL, in the statement that stores it: "head <lsn> <id>" names a row of
 * syncline_request_heads, "waiting" says that a head is to be read. Each process listens and knows the heads that are not passed; when a
 * checkpoint passes one, the row says whose it is. An association that is stored when its head is passed already is found by the same
 * notification. After the connection was cut, all users with a stream here look again.
 *
 * Nothing gets lost between the two: whoever shows a checkpoint sets the served position first and then asks for the heads up to it
 * (pg_requests_passed); whoever hears of a head looks at the served position. One of the two sees the other.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_REQUESTS_H
#define SYNCLINE_STORAGE_POSTGRES_REQUESTS_H

#include "storage/postgres/store.h"
#include "storage/request_list.h"

#define PG_REQUESTS_CHANNEL "syncline_requests"

struct pg_requests;

struct pg_requests *pg_requests_new(struct pg_store *store);
void pg_requests_free(struct pg_requests *r); /* NULL does nothing */

/* The watcher's thread: its connection listens on the channel, for the first time or again; a notification came. */
bool pg_requests_listening(struct pg_requests *r, struct pg_conn *c, struct error *err);
/* The database answers: sessions that could not read their record look again. */
void pg_requests_answering(struct pg_requests *r);
void pg_requests_heard(struct pg_requests *r, struct pg_conn *c, const char *payload);

/* Users with a head in (after, up_to], in the arena; up_to is the served position already. The list may hold users who have none any more. False:
 * they could not be read, so everybody has to look. */
bool pg_requests_passed(struct pg_store *store, struct pg_conn *c, struct position after, struct position up_to,
                        struct arena *arena, const struct user_key **users, size_t *count, struct error *err);

/* ---- what storage.h promises, for shared stores (struct shared_ops) ---- */
bool pg_request_checkpoints(struct storage *s, struct checkpoint_request *requests, size_t count, bool head_known,
                            struct position head, struct error *err);
struct waiting_heads *pg_waiting_heads(struct storage *s, size_t *count, struct error *err);
bool pg_fill_heads(struct storage *s, struct waiting_heads *w, struct position head, struct error *err);
bool pg_heads_wait(struct storage *s);
uint64_t pg_write_checkpoint(struct storage *s, const struct user_key *user, struct position position);
bool pg_position_acknowledges(struct storage *s, struct position position);
bool pg_touch_requests(struct storage *s, const struct user_key *users, size_t count, struct error *err);
bool pg_expire_requests(struct storage *s, struct error *err);
bool pg_list_requests(struct storage *s, const struct request_filter *filter, struct arena *arena, struct user_requests **out,
                      size_t *count, bool *more, struct error *err);
bool pg_count_requests(struct storage *s, struct request_counts *out, struct error *err);

#endif
