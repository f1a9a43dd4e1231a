/*
 * custom.h: write checkpoints that come with the data (checkpoint-requests 7), on the shared layout.
 *
 * custom_write_checkpoints has the last id of each user and stream, as the reference writes it, for users to whom a text belongs
 * (request_users.h). Which id counts at which checkpoint is in the side table syncline_custom, by subject and client id. Its records carry the hash
 * of the events that made them: a stream with the same events goes on from those of the streams before it, so a deploy forgets nothing.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_CUSTOM_H
#define SYNCLINE_STORAGE_POSTGRES_CUSTOM_H

#include "storage/postgres/store.h"

struct pg_custom;

struct pg_custom *pg_custom_new(struct pg_store *store);
void pg_custom_free(struct pg_custom *c);

/* ---- the writer's thread */
/* Notes it for the transaction that is being gathered. */
bool pg_custom_checkpoint(struct storage *s, const struct custom_checkpoint *c, struct error *err);
bool pg_custom_queued(const struct pg_custom *c);
/* Everything that was noted, within the open transaction of conn. applied: the boundary that the store is at. Then pg_custom_clear, once that is
 * committed; also to forget it. */
bool pg_custom_write(struct pg_custom *c, struct pg_conn *conn, struct position applied, struct error *err);
void pg_custom_clear(struct pg_custom *c);

/* ---- any thread */
bool pg_custom_mode(struct storage *s);
uint64_t pg_custom_acknowledged(struct storage *s, const struct user_key *user, struct position position);
/* The users live; the records that are over go. */
bool pg_custom_touch(struct storage *s, const struct user_key *users, size_t count, struct error *err);
bool pg_custom_expire(struct storage *s, struct error *err);

#endif
