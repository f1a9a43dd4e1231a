/*
 * chunk_plan.h: how one table is read: the pieces of SQL that stay the same from chunk to chunk.
 *
 * Made from the catalogue when a connection reads another table, or when the signature read with a chunk says that the table changed.
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_CHUNK_PLAN_H
#define SYNCLINE_SOURCE_POSTGRES_CHUNK_PLAN_H

#include "source/postgres/catalog.h"
#include "source/postgres/types.h"

struct chunk_plan {
	struct arena arena;
	struct catalog_table table;
	struct type_catalog *types;
	struct slice from; /* ONLY "s"."t" */
	struct slice select_list;
	struct slice order_by;       /* "k1","k2" */
	const size_t *order_columns; /* order key -> column */
	const size_t *key_columns;   /* the replica identity's, in column order */
	size_t key_width;
	uint64_t order_hash;  /* of the order key's names, to recognise positions of another */
	double bytes_per_row; /* estimate, corrected by what chunks show; 0 unknown */
};

void chunk_plan_free(struct chunk_plan *p);

/* The table of the request is the plan's in all that matters for reading. */
bool chunk_plan_fits(const struct chunk_plan *p, const struct source_table *t);
/* Makes the connection's plan (anew: in any case) that of the table as it is now. False with *outcome set: no reading; or *failed, also
 * after so long a wait for whoever holds the table. */
bool chunk_plan_for(struct source_connection *c, const struct source_table *t, bool anew, int lock_timeout_ms,
                    enum chunk_outcome *outcome, bool *failed, struct error *err);

/* Position of a chunk: what the next one starts behind. */
struct chunk_position {
	bool by_page;
	uint32_t last_page, page, item; /* ctid ranges: the last page of all, and the last row read */
	struct slice *keys;             /* texts of the order key */
};

struct slice chunk_position_write(const struct chunk_plan *p, const struct chunk_position *at, struct arena *arena);
/* False: empty, or of another way of reading: start from the beginning. */
bool chunk_position_read(const struct chunk_plan *p, struct slice text, struct arena *arena, struct chunk_position *out);

/* The SELECT for a range behind one position (NULL: from the start) up to another (NULL: to the end), at most limit rows. */
void chunk_range_sql(struct buf *sql, const struct chunk_plan *p, const struct chunk_position *after,
                     const struct chunk_position *until, size_t limit);
/* The SELECT for given keys: raw values of the in_key columns, key after key. */
void chunk_keys_sql(struct buf *sql, const struct chunk_plan *p, const struct raw_value *keys, size_t key_count);

#endif
