/*
 * user_edit.h: the record of one user's checkpoint requests and its indexes, read and written again in one transaction of the request side.
 */
#ifndef SYNCLINE_STORAGE_USER_EDIT_H
#define SYNCLINE_STORAGE_USER_EDIT_H

#include "storage/internal.h"

struct user_edit {
	struct slice key;
	bool found;
	struct user_record before, after;
};

/* A user of whom nothing is stored has an empty record, with the floor if one was left. key: encoded, as long as e is used. */
bool user_edit_load(struct storage *s, struct requests_txn *t, struct slice key, struct user_edit *e, struct error *err);
/* The record `after`, and the index entries by which it differs from `before`. */
bool user_edit_store(struct storage *s, struct requests_txn *t, const struct user_edit *e, struct buf *scratch,
                     struct error *err);

#endif
