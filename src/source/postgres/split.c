/*
 * split.c: where a table is cut, so that several readers can share it.
 *
 * Keys come from a sample of whole pages: a few dozen of them, whatever the size of the table. A table that is read by pages is cut
 * by their numbers.
 */
#include "source/postgres/chunk_plan.h"

#define LOCK_TIMEOUT_MS 5000
/* Fewer pages than this for each part are not worth a part. */
#define LEAST_PAGES 32
/* Pages to look at for each part. */
#define SAMPLED_PAGES 6

static bool read_pages(struct source_connection *c, const struct chunk_plan *p, uint64_t *pages, struct error *err)
{
	struct buf sql = {0};
	buf_printf(&sql, "SELECT pg_catalog.pg_relation_size(%u) / pg_catalog.current_setting('block_size')::pg_catalog.int8",
	           p->table.table.relation.oid);
	buf_putc(&sql, '\0');
	PGresult *r = link_query(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	*pages = r && PQntuples(r) == 1 ? pg_field_u64(r, 0, 0) : 0;
	PQclear(r);
	return r != NULL;
}

static void split_pages(const struct chunk_plan *p, uint64_t pages, size_t parts, struct arena *arena, struct slice *positions,
                        size_t *count)
{
	for (size_t i = 1; i < parts; i++) {
		struct chunk_position at = {.by_page = true,
		                            .last_page = (uint32_t)(pages - 1),
		                            .page = (uint32_t)(pages * i / parts - 1),
		                            .item = 65535};
		positions[(*count)++] = chunk_position_write(p, &at, arena);
	}
}

static void sample_sql(struct buf *sql, const struct chunk_plan *p, double percent)
{
	buf_printf(sql, "SET LOCAL lock_timeout = %d; SELECT %.*s FROM %.*s TABLESAMPLE SYSTEM (%.6f) ORDER BY %.*s",
	           LOCK_TIMEOUT_MS, SLICE_ARG(p->order_by), SLICE_ARG(p->from), percent, SLICE_ARG(p->order_by));
	buf_putc(sql, '\0');
}

static bool split_keys(struct source_connection *c, const struct chunk_plan *p, uint64_t pages, size_t parts, struct arena *arena,
                       struct slice *positions, size_t *count, struct error *err)
{
	struct buf sql = {0};
	double percent = 100.0 * (double)(parts * SAMPLED_PAGES) / (double)pages;
	size_t keys = p->table.table.order_key_count;
	for (size_t k = 0; k < keys; k++)
		if (!p->table.up_to_operators[k].n)
			return true;
	sample_sql(&sql, p, percent < 100 ? percent : 100);
	PGresult *r = link_query(&c->link, sql.p, SOCKET_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	size_t rows = (size_t)PQntuples(r);
	if (rows < parts)
		parts = rows;
	for (size_t i = 1; i < parts; i++) {
		struct chunk_position at = {.keys = arena_array(arena, struct slice, keys)};
		for (size_t k = 0; k < keys; k++)
			at.keys[k] = pg_field(r, (int)(rows * i / parts), (int)k);
		positions[(*count)++] = chunk_position_write(p, &at, arena);
	}
	PQclear(r);
	return true;
}

bool source_split_table(struct source_connection *c, const struct source_table *table, size_t parts, struct arena *arena,
                        enum chunk_outcome *outcome, struct slice **positions, size_t *count, struct error *err)
{
	bool failed;
	uint64_t pages;
	*count = 0;
	*positions = arena_array(arena, struct slice, parts);
	if (!chunk_plan_for(c, table, true, LOCK_TIMEOUT_MS, outcome, &failed, err))
		return !failed;
	const struct chunk_plan *p = c->plan;
	if (!read_pages(c, p, &pages, err))
		return !c->link.broken; /* what is wrong will be found when the table is read */
	if (parts > pages / LEAST_PAGES)
		parts = (size_t)(pages / LEAST_PAGES);
	if (parts < 2)
		return true;
	if (table->order_key_count == 0)
		split_pages(p, pages, parts, arena, *positions, count);
	else if (!split_keys(c, p, pages, parts, arena, *positions, count, err))
		return !c->link.broken;
	return true;
}
