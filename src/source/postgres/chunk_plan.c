/* chunk_plan.c: SQL for reading a table piece by piece (interleaved-snapshot 4). */
#include "source/postgres/chunk_plan.h"

#include <stdlib.h>

#include "base/alloc.h"

/* ---- making --------------------------------------------------------------------------------------------------------------- */

static struct slice kept(struct chunk_plan *p, struct buf *b)
{
	struct slice s = arena_copy(&p->arena, buf_slice(b));
	buf_free(b);
	return s;
}

static uint64_t hash_names(const struct slice *names, size_t count)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < names[i].n; k++)
			h = (h ^ (unsigned char)names[i].p[k]) * UINT64_C(1099511628211);
		h = (h ^ 0x100) * UINT64_C(1099511628211);
	}
	return h;
}

static void write_pieces(struct chunk_plan *p)
{
	const struct source_table *t = &p->table.table;
	struct buf b = {0};
	buf_lit(&b, "ONLY ");
	sql_table(&b, t->relation.schema, t->relation.name);
	p->from = kept(p, &b);
	for (size_t i = 0; i < t->relation.column_count; i++) {
		if (i)
			buf_putc(&b, ',');
		sql_identifier(&b, t->relation.columns[i].name);
	}
	p->select_list = kept(p, &b);
	size_t *order = arena_array(&p->arena, size_t, t->order_key_count);
	for (size_t k = 0; k < t->order_key_count; k++) {
		if (k)
			buf_putc(&b, ',');
		sql_identifier(&b, t->order_key[k]);
		for (order[k] = 0; !slice_eq(t->relation.columns[order[k]].name, t->order_key[k]);)
			order[k]++;
	}
	p->order_by = kept(p, &b);
	size_t *keys = arena_array(&p->arena, size_t, t->relation.column_count);
	for (size_t i = 0; i < t->relation.column_count; i++)
		if (t->relation.columns[i].in_key)
			keys[p->key_width++] = i;
	p->key_columns = keys;
	p->order_columns = order;
	p->order_hash = hash_names(t->order_key, t->order_key_count);
	p->bytes_per_row = p->table.bytes_per_row;
}

/* *out NULL and true: the table is gone or not published. */
static bool make_plan(struct source_connection *c, uint32_t oid, int lock_timeout_ms, struct chunk_plan **out, struct error *err)
{
	struct chunk_plan *p = xcalloc(1, sizeof(*p));
	bool found;
	*out = NULL;
	if (!catalog_table_details(&c->link, oid, lock_timeout_ms, &p->arena, &p->table, &found, err)) {
		chunk_plan_free(p);
		return false;
	}
	if (!found || !p->table.published) {
		chunk_plan_free(p);
		return true;
	}
	const struct source_relation *r = &p->table.table.relation;
	uint32_t *oids = arena_array(&p->arena, uint32_t, r->column_count);
	for (size_t i = 0; i < r->column_count; i++)
		oids[i] = r->columns[i].type_oid;
	p->types = type_catalog_load(c, oids, r->column_count, err);
	if (!p->types) {
		chunk_plan_free(p);
		return false;
	}
	write_pieces(p);
	*out = p;
	return true;
}

void chunk_plan_free(struct chunk_plan *p)
{
	if (!p)
		return;
	type_catalog_free(p->types);
	arena_free(&p->arena);
	free(p);
}

static bool same_column(const struct source_column *a, const struct source_column *b)
{
	return slice_eq(a->name, b->name) && a->type_oid == b->type_oid && a->type_modifier == b->type_modifier &&
	       a->attnum == b->attnum && a->in_key == b->in_key;
}

bool chunk_plan_fits(const struct chunk_plan *p, const struct source_table *t)
{
	const struct source_table *mine = &p->table.table;
	if (mine->relation.oid != t->relation.oid || mine->relfilenode != t->relfilenode ||
	    mine->relation.replica_identity != t->relation.replica_identity ||
	    !slice_eq(mine->relation.schema, t->relation.schema) || !slice_eq(mine->relation.name, t->relation.name) ||
	    mine->relation.column_count != t->relation.column_count || mine->order_key_count != t->order_key_count)
		return false;
	for (size_t i = 0; i < t->order_key_count; i++)
		if (!slice_eq(mine->order_key[i], t->order_key[i]))
			return false;
	for (size_t i = 0; i < t->relation.column_count; i++)
		if (!same_column(&mine->relation.columns[i], &t->relation.columns[i]))
			return false;
	return true;
}

bool chunk_plan_for(struct source_connection *c, const struct source_table *t, bool anew, int lock_timeout_ms,
                    enum chunk_outcome *outcome, bool *failed, struct error *err)
{
	*failed = false;
	if (!c->plan || anew || c->plan->table.table.relation.oid != t->relation.oid) {
		chunk_plan_free(c->plan);
		c->plan = NULL;
		if (!make_plan(c, t->relation.oid, lock_timeout_ms, &c->plan, err)) {
			*failed = true;
			return false;
		}
	}
	*outcome = !c->plan ? CHUNK_TABLE_GONE : chunk_plan_fits(c->plan, t) ? CHUNK_ROWS : CHUNK_TABLE_CHANGED;
	return *outcome == CHUNK_ROWS;
}

/* ---- positions ------------------------------------------------------------------------------------------------------------ */

/*
 * 'p' u32 relfilenode, u32 last page, u32 page, u32 item: physical order; void after a rewrite.
 * 'k' u64 hash of the key's column names, then for each column u32 length and its text: key order.
 */
static void put_u32(struct buf *b, uint32_t v)
{
	char bytes[4] = {(char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v};
	buf_append(b, bytes, 4);
}

static bool get_u32(struct slice *s, uint32_t *out)
{
	if (s->n < 4)
		return false;
	const unsigned char *p = (const unsigned char *)s->p;
	*out = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	*s = slice_drop(*s, 4);
	return true;
}

struct slice chunk_position_write(const struct chunk_plan *p, const struct chunk_position *at, struct arena *arena)
{
	struct buf b = {0};
	buf_putc(&b, at->by_page ? 'p' : 'k');
	if (at->by_page) {
		put_u32(&b, p->table.table.relfilenode);
		put_u32(&b, at->last_page);
		put_u32(&b, at->page);
		put_u32(&b, at->item);
	} else {
		put_u32(&b, (uint32_t)(p->order_hash >> 32));
		put_u32(&b, (uint32_t)p->order_hash);
		for (size_t i = 0; i < p->table.table.order_key_count; i++) {
			put_u32(&b, (uint32_t)at->keys[i].n);
			buf_slice_append(&b, at->keys[i]);
		}
	}
	struct slice s = arena_copy(arena, buf_slice(&b));
	buf_free(&b);
	return s;
}

bool chunk_position_read(const struct chunk_plan *p, struct slice text, struct arena *arena, struct chunk_position *out)
{
	size_t keys = p->table.table.order_key_count;
	*out = (struct chunk_position){.by_page = keys == 0};
	if (!text.n || text.p[0] != (out->by_page ? 'p' : 'k'))
		return false;
	text = slice_drop(text, 1);
	uint32_t high, low;
	if (out->by_page)
		return get_u32(&text, &low) && low == p->table.table.relfilenode && get_u32(&text, &out->last_page) &&
		       get_u32(&text, &out->page) && get_u32(&text, &out->item) && text.n == 0;
	if (!get_u32(&text, &high) || !get_u32(&text, &low) || ((uint64_t)high << 32 | low) != p->order_hash)
		return false;
	out->keys = arena_array(arena, struct slice, keys);
	for (size_t i = 0; i < keys; i++) {
		uint32_t n;
		if (!get_u32(&text, &n) || n > text.n)
			return false;
		out->keys[i] = slice_make(text.p, n);
		text = slice_drop(text, n);
	}
	return text.n == 0;
}

/* ---- queries -------------------------------------------------------------------------------------------------------------- */

/* A value in the type of the column: of a domain in its base type, without the modifier, so that nothing is rounded or checked. */
static void typed_literal(struct buf *sql, const struct chunk_plan *p, size_t column, struct slice text)
{
	const struct pg_type *type = type_base(type_find(p->types, p->table.table.relation.columns[column].type_oid));
	sql_literal(sql, text);
	if (!type)
		return;
	buf_lit(sql, "::");
	sql_table(sql, type->schema, type->name);
}

/* (k1, k2) op (v1, v2), if one operator serves for all columns. */
static bool row_comparison_sql(struct buf *sql, const struct chunk_plan *p, const struct slice *operators,
                               const struct slice *keys)
{
	size_t count = p->table.table.order_key_count;
	for (size_t i = 1; i < count; i++)
		if (!slice_eq(operators[i], operators[0]))
			return false;
	buf_printf(sql, "ROW(%.*s) %.*s ROW(", SLICE_ARG(p->order_by), SLICE_ARG(operators[0]));
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_putc(sql, ',');
		typed_literal(sql, p, p->order_columns[i], keys[i]);
	}
	buf_putc(sql, ')');
	return true;
}

/*
 * (k1, k2) > (v1, v2) with each type's own operator, wherever its schema is on the search path: a plain ">" on an extension's type
 * could silently become that of text, with another order. One operator for all (nearly always) is a row comparison, which an index
 * answers; else it is written out, led by a condition on the first column that an index answers.
 */
static void behind_sql(struct buf *sql, const struct chunk_plan *p, const struct slice *keys)
{
	const struct source_table *t = &p->table.table;
	const struct slice *operators = p->table.order_operators;
	if (row_comparison_sql(sql, p, operators, keys))
		return;
	/* NOT (v1 > k1) AND (k1 > v1 OR (NOT (v1 > k1) AND (k2 > v2 OR ...))): only ">" is needed. */
	for (size_t i = 0; i < t->order_key_count; i++) {
		buf_lit(sql, "(NOT (");
		typed_literal(sql, p, p->order_columns[i], keys[i]);
		buf_printf(sql, " %.*s ", SLICE_ARG(operators[i]));
		sql_identifier(sql, t->order_key[i]);
		buf_lit(sql, ") AND (");
		sql_identifier(sql, t->order_key[i]);
		buf_printf(sql, " %.*s ", SLICE_ARG(operators[i]));
		typed_literal(sql, p, p->order_columns[i], keys[i]);
		buf_slice_append(sql, i + 1 < t->order_key_count ? SLICE(" OR ") : SLICE(""));
	}
	for (size_t i = 0; i < t->order_key_count; i++)
		buf_lit(sql, "))");
}

/* NOT (k > v), so that an index answers it where it can: the first column is compared once more, with its "<=". */
static void up_to_sql(struct buf *sql, const struct chunk_plan *p, const struct slice *keys)
{
	if (row_comparison_sql(sql, p, p->table.up_to_operators, keys))
		return;
	sql_identifier(sql, p->table.table.order_key[0]);
	buf_printf(sql, " %.*s ", SLICE_ARG(p->table.up_to_operators[0]));
	typed_literal(sql, p, p->order_columns[0], keys[0]);
	buf_lit(sql, " AND NOT (");
	behind_sql(sql, p, keys);
	buf_putc(sql, ')');
}

static void filter_sql(struct buf *sql, const struct chunk_plan *p, const char *lead)
{
	if (p->table.row_filter.n)
		buf_printf(sql, "%s (%.*s)", lead, SLICE_ARG(p->table.row_filter));
}

void chunk_range_sql(struct buf *sql, const struct chunk_plan *p, const struct chunk_position *after,
                     const struct chunk_position *until, size_t limit)
{
	bool by_page = p->table.table.order_key_count == 0;
	bool columns = p->select_list.n > 0;
	buf_printf(sql, "SELECT %s%.*s FROM %.*s WHERE true", by_page ? columns ? "ctid," : "ctid" : "",
	           SLICE_ARG(p->select_list), SLICE_ARG(p->from));
	filter_sql(sql, p, " AND");
	if (after && by_page) {
		buf_printf(sql, " AND ctid > '(%u,%u)'::pg_catalog.tid AND ctid <= '(%u,65535)'::pg_catalog.tid", after->page,
		           after->item, after->last_page);
	} else if (after) {
		buf_lit(sql, " AND ");
		behind_sql(sql, p, after->keys);
	}
	if (until && by_page) {
		buf_printf(sql, " AND ctid <= '(%u,%u)'::pg_catalog.tid", until->page, until->item);
	} else if (until) {
		buf_lit(sql, " AND ");
		up_to_sql(sql, p, until->keys);
	}
	if (!by_page)
		buf_printf(sql, " ORDER BY %.*s", SLICE_ARG(p->order_by));
	buf_printf(sql, " LIMIT %zu", limit);
}

static const struct pg_type *column_type(const struct chunk_plan *p, size_t column)
{
	return type_base(type_find(p->types, p->table.table.relation.columns[column].type_oid));
}

/* Built-in types that pg_catalog compares with "=". Not so json, xml, the geometric ones; arrays depend on their elements. */
static bool has_equality(const struct pg_type *type)
{
	static const uint32_t without[] = {114, 142, 194, 600, 601, 602, 603, 604, 628, 718};
	if (!type || type->oid >= FIRST_USER_OID || type->kind == TYPE_ARRAY)
		return false;
	for (size_t i = 0; i < sizeof(without) / sizeof(*without); i++)
		if (type->oid == without[i])
			return false;
	return true;
}

/* (k1, k2) IN (VALUES (v1, v2), ...) */
static void keys_in_sql(struct buf *sql, const struct chunk_plan *p, const struct raw_value *keys, size_t key_count)
{
	for (size_t k = 0; k < p->key_width; k++) {
		buf_putc(sql, k ? ',' : '(');
		sql_identifier(sql, p->table.table.relation.columns[p->key_columns[k]].name);
	}
	buf_lit(sql, ") IN (VALUES ");
	for (size_t i = 0; i < key_count; i++) {
		buf_slice_append(sql, i ? SLICE(",(") : SLICE("("));
		for (size_t k = 0; k < p->key_width; k++) {
			if (k)
				buf_putc(sql, ',');
			typed_literal(sql, p, p->key_columns[k], keys[i * p->key_width + k].text);
		}
		buf_putc(sql, ')');
	}
	buf_putc(sql, ')');
}

/* "k" = v: by the type's own operator if the column is read in order by (its "=" has the name of its ">" but for that sign), else as
 * text, which also takes nulls. */
static void key_equals_sql(struct buf *sql, const struct chunk_plan *p, size_t column, const struct raw_value *v)
{
	const struct source_table *t = &p->table.table;
	for (size_t i = 0; i < t->order_key_count; i++) {
		struct slice op = p->table.order_operators[i];
		if (p->order_columns[i] != column || v->kind != RAW_TEXT || !slice_ends(op, SLICE(".>)")))
			continue;
		sql_identifier(sql, t->relation.columns[column].name);
		buf_printf(sql, " %.*s=) ", (int)op.n - 2, op.p);
		typed_literal(sql, p, column, v->text);
		return;
	}
	sql_identifier(sql, t->relation.columns[column].name);
	buf_lit(sql, "::pg_catalog.text IS NOT DISTINCT FROM ");
	if (v->kind == RAW_TEXT)
		sql_literal(sql, v->text);
	else
		buf_lit(sql, "NULL");
}

/* (k1 = v1 AND k2 = v2) OR ... */
static void keys_or_sql(struct buf *sql, const struct chunk_plan *p, const struct raw_value *keys, size_t key_count)
{
	for (size_t i = 0; i < key_count; i++) {
		buf_slice_append(sql, i ? SLICE(" OR (") : SLICE("(("));
		for (size_t k = 0; k < p->key_width; k++) {
			buf_slice_append(sql, k ? SLICE(" AND ") : SLICE(""));
			key_equals_sql(sql, p, p->key_columns[k], &keys[i * p->key_width + k]);
		}
		buf_putc(sql, ')');
	}
	buf_putc(sql, ')');
}

void chunk_keys_sql(struct buf *sql, const struct chunk_plan *p, const struct raw_value *keys, size_t key_count)
{
	bool simple = true;
	for (size_t k = 0; k < p->key_width; k++)
		simple = simple && has_equality(column_type(p, p->key_columns[k]));
	for (size_t i = 0; i < key_count * p->key_width; i++)
		simple = simple && keys[i].kind == RAW_TEXT;
	buf_printf(sql, "SELECT %.*s FROM %.*s WHERE ", SLICE_ARG(p->select_list), SLICE_ARG(p->from));
	if (p->key_width == 0 || key_count == 0)
		buf_lit(sql, "false");
	else if (simple)
		keys_in_sql(sql, p, keys, key_count);
	else
		keys_or_sql(sql, p, keys, key_count);
	filter_sql(sql, p, " AND");
}
