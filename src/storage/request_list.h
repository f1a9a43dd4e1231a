/*
 * request_list.h: looking at checkpoint requests: who waits, for what, since when (`syncline requests`, the admin route, metrics).
 *
 * Any thread, also on a store that was opened for looking only. Reads in short steps, so a long list may mix moments.
 */
#ifndef SYNCLINE_STORAGE_REQUEST_LIST_H
#define SYNCLINE_STORAGE_REQUEST_LIST_H

#include "storage/storage.h"

/* At most 64 entries and one without a head (checkpoint-requests 3). */
#define PENDING_LIST_MAX 65

struct pending_request {
	uint64_t id;
	bool head_known;
	bool generated; /* by the legacy route */
	struct position head;
	int64_t since_ms; /* wall clock of storing */
};

/* What storage knows of one (subject, client id), against the position that clients are served now. */
struct user_requests {
	struct user_key user; /* in the arena */
	uint64_t newest_id;
	uint64_t acknowledged_id; /* 0: none */
	struct position acknowledged_head;
	bool temporary;                        /* retention applies */
	int64_t stamp_ms;                      /* wall clock of the last sign of life; 0 for a persistent record */
	const struct pending_request *pending; /* by id; the one without a head is the last */
	size_t pending_count;
};

struct request_filter {
	struct slice subject, client_id; /* p == NULL: any */
	size_t limit;
};

/*
 * With neither a subject nor a client id: those who wait, oldest head first, then those whose head is not known. Otherwise every record
 * that fits. *more: there are more than limit. Everything is in the arena.
 */
bool storage_list_requests(struct storage *s, const struct request_filter *filter, struct arena *arena,
                           struct user_requests **out, size_t *count, bool *more, struct error *err);

struct request_counts {
	size_t pending;        /* associations that are not passed, with those that wait for a head */
	size_t headless;       /* of these: wait for a head */
	int64_t oldest_age_ms; /* of the oldest; 0: none */
};
bool storage_count_requests(struct storage *s, struct request_counts *out, struct error *err);

#endif
