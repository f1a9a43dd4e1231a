/* apply.h: working memory of apply.c and entries.c, so that writing a row allocates nothing once it is warm. Writer only. */
#ifndef SYNCLINE_STORAGE_APPLY_H
#define SYNCLINE_STORAGE_APPLY_H

#include "base/arena.h"
#include "base/buf.h"
#include "storage/record.h"

struct type_number {
	struct slice text;
	uint32_t number;
};

/* An entry refers to the data of one that stands so many before it at most. */
#define SHARE_WITHIN 12

/* A PUT that is being worked on. */
struct new_entry {
	uint32_t bucket, type;
	bool write;       /* makes an operation */
	bool duplicate;   /* an earlier one has the same bucket, type and id */
	bool replaces;    /* the row had one there before */
	bool shared;      /* a later one refers to its data */
	uint32_t same_as; /* index + 1 of the entry with the same data; 0: none */
	uint64_t op_id;
};

struct apply {
	struct row_record current, former;
	struct buf record; /* the new record */
	struct new_entry *entries;
	size_t entry_cap;
	bool *matched; /* by contribution, then by lookup of the current record */
	size_t matched_cap;
	uint32_t *slots; /* hash table over contributions and entries, for rows with many of them */
	size_t slot_cap;
	struct arena arena;
	struct type_number *types;
	size_t type_count, type_cap;
	uint32_t last_type[2]; /* indexes of the types that were used last */
};

#endif
