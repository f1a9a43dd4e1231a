/* readers_internal.h: shared by readers.c (buckets and operations), ops_ahead.c, checksums.c and lookups.c. */
#ifndef SYNCLINE_STORAGE_POSTGRES_READERS_INTERNAL_H
#define SYNCLINE_STORAGE_POSTGRES_READERS_INTERNAL_H

#include "storage/postgres/readers.h"

/* Operations of several buckets that one statement read. */
struct pg_ahead_range {
	uint32_t bucket;
	uint64_t after;
	int row, end; /* in the rows of all of them */
	bool known;   /* the answer came this far */
	bool more;    /* there may be others behind them */
};

struct pg_ahead {
	PGresult *rows; /* columns as PG_OPS_COLUMNS says */
	uint64_t up_to;
	struct pg_ahead_range *ranges;
	size_t count;
};

struct pg_reader {
	struct storage_reader base; /* first */
	struct pg_store *store;
	struct arena arena;
	struct pg_ahead ahead;
};

/* The op id of the CLEAR that is the first operation of the bucket, or 0; for a statement with these two expressions. */
#define PG_CLEAR_OF(group, name)                                                                                                 \
	"coalesce((SELECT f.op_id FROM (SELECT op_id, op FROM bucket_data WHERE group_id = " group " AND bucket_name = " name    \
	" ORDER BY op_id LIMIT 1) f WHERE f.op = 'CLEAR'), 0)"
/* Is the data of the stream whole? Once it is stopped, it may be removed any time. */
#define PG_STREAM_IS_WHOLE(group)                                                                                                \
	"EXISTS (SELECT 1 FROM sync_rules WHERE id = " group " AND state IN ('ACTIVE', 'ERRORED', 'PROCESSING'))"

/* What statements answer of an operation. */
enum {
	PG_OP_ID,
	PG_OP,
	PG_OP_SOURCE_TABLE,
	PG_OP_SOURCE_KEY,
	PG_OP_TABLE_NAME,
	PG_OP_ROW_ID,
	PG_OP_CHECKSUM,
	PG_OP_DATA,
	PG_OP_TARGET,
	PG_OP_COLUMNS
};
#define PG_OPS_COLUMNS "op_id, op, source_table, source_key, table_name, row_id, checksum, data, target_op"
/* A binary bigint; NULL: 0. */
uint64_t pg_number_at(const PGresult *r, int row, int column);

/* The range, if it was read ahead with this reader and is known. NULL: it was not. */
const struct pg_ahead_range *pg_ahead_find(const struct pg_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to);

bool pg_stream_is_gone(struct error *err);
/* Largest bigint that is no greater. */
int64_t pg_bigint(uint64_t v);

#endif
