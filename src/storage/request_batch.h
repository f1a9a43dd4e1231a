/*
 * request_batch.h: a batch of checkpoint requests, and what follows from storing it (checkpoint-requests 2): the rules that every store shares,
 * whatever its records look like.
 *
 * The position that clients are served is read twice: before storing, for trimming (a position only grows, so an older one only trims less),
 * and after the commit, for deciding who needs no marker and is acknowledged at once.
 */
#ifndef SYNCLINE_STORAGE_REQUEST_BATCH_H
#define SYNCLINE_STORAGE_REQUEST_BATCH_H

#include "base/arena.h"
#include "storage/write_checkpoints.h"

/* What has to be known of a stored record once the served position is read again. */
struct request_outcome {
	bool unknown, any, has_new;
	struct position newest, first_new; /* greatest head; smallest head that this write brought */
};
struct request_outcome request_outcome_of(const struct user_record *before, const struct user_record *after);
bool request_is_pending(const struct request_outcome *o, const struct served *p);
/* Did this write bring an association that is passed already? No commit will tell of it. */
bool request_is_passed(const struct request_outcome *o, const struct served *p);

/* Only the stamp of a stored record moved, and not by much: not worth a disk flush. */
bool request_changes_nothing(const struct user_record *before, const struct user_record *after, int64_t retention_ms);

struct batch_user {
	struct slice key;  /* encoded */
	uint64_t supplied; /* greatest supplied id; 0: none */
	bool generated;
	uint64_t answer;
	struct request_outcome outcome;
	bool pending;
};

/* One entry for each user. Zeroed, then grouped; freed by freeing the arena. */
struct request_batch {
	struct arena arena;
	struct batch_user *users;
	size_t count;
	uint32_t *user_of; /* by request: index into users */
	uint32_t *slots;   /* hash of users: index + 1 */
	size_t slot_count; /* power of two */
};

/* Refuses ids that are too large, and everything in custom mode. */
bool request_batch_check(struct storage *s, const struct checkpoint_request *requests, size_t count, struct error *err);
void request_batch_group(struct request_batch *b, const struct checkpoint_request *requests, size_t count);
/* Of one user the greatest supplied id counts; a generated request is done as well, unless the supplied id is stored with this
 * batch's head just now and so stands for it (section 2). head NULL: not known. Fills in the answer. */
void request_batch_apply(struct batch_user *u, struct user_record *r, const struct position *head, const struct served *p,
                         int64_t now_ms);
void request_batch_answer(const struct request_batch *b, struct checkpoint_request *requests, size_t count);

/* Those who wait for a head (storage_waiting_heads). */
struct waiting_user {
	struct slice key;
	uint64_t id;                    /* that waits */
	struct request_outcome outcome; /* once filled in */
};
struct waiting_heads {
	struct arena arena;
	struct waiting_user *items;
	size_t count, cap;
};
void waiting_heads_add(struct waiting_heads *w, struct slice key, uint64_t id); /* copies the key */

/* Users who are acknowledged at once. */
struct user_list {
	struct arena arena;
	struct user_key *items;
	size_t count, cap;
};
void user_list_free(struct user_list *l);
void user_list_add(struct user_list *l, struct slice key);
/* News for the subscriber, with the checkpoint that clients are served now. */
void user_list_tell(struct storage *s, const struct user_list *l);

#endif
