/* request_listing.h: a list of users' checkpoint requests as it is being made (request_list.h), the same on every store. */
#ifndef SYNCLINE_STORAGE_REQUEST_LISTING_H
#define SYNCLINE_STORAGE_REQUEST_LISTING_H

#include "storage/request_list.h"
#include "storage/write_checkpoints.h"

struct request_listing {
	struct storage *s;
	struct arena *arena;
	const struct request_filter *filter;
	struct served served;
	struct user_requests *items;
	size_t count;
	bool more; /* one more than the limit was found */
};

void request_listing_begin(struct request_listing *l);
/* False: the list is full. */
bool request_listing_add(struct request_listing *l, struct slice key, const struct user_record *u);
bool request_filter_fits(const struct request_filter *f, const struct user_key *user);

#endif
