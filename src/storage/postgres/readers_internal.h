/* readers_internal.h: shared by readers.c (buckets and operations), checksums.c and lookups.c. */
#ifndef SYNCLINE_STORAGE_POSTGRES_READERS_INTERNAL_H
#define SYNCLINE_STORAGE_POSTGRES_READERS_INTERNAL_H

#include "storage/postgres/readers.h"

struct pg_reader {
	struct storage_reader base; /* first */
	struct pg_store *store;
	struct arena arena;
};

/* The op id of the CLEAR that is the first operation of the bucket, or 0; for a statement with these two expressions. */
#define PG_CLEAR_OF(group, name)                                                                                                 \
	"coalesce((SELECT f.op_id FROM (SELECT op_id, op FROM bucket_data WHERE group_id = " group " AND bucket_name = " name    \
	" ORDER BY op_id LIMIT 1) f WHERE f.op = 'CLEAR'), 0)"
/* Is the data of the stream whole? Once it is stopped, it may be removed any time. */
#define PG_STREAM_IS_WHOLE(group)                                                                                                \
	"EXISTS (SELECT 1 FROM sync_rules WHERE id = " group " AND state IN ('ACTIVE', 'ERRORED', 'PROCESSING'))"

bool pg_stream_is_gone(struct error *err);
/* Largest bigint that is no greater. */
int64_t pg_bigint(uint64_t v);

#endif
