/* types.c: loads type descriptions from pg_type. */
#include "source/postgres/types.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "source/postgres/link.h"

/* Types refer to others (an array of a domain over a composite ...); so many rounds of looking up are enough for anything that the
 * depth limit of values lets through. */
#define MAX_ROUNDS 64

enum type_kind type_base_kind(uint32_t oid)
{
	switch (oid) {
	case 20:
	case 21:
	case 23:
	case 26:
		return TYPE_INTEGER;
	case 700:
	case 701:
		return TYPE_REAL;
	case 16:
		return TYPE_BOOL;
	case 17:
		return TYPE_BYTEA;
	case 1082:
		return TYPE_DATE;
	case 1083:
		return TYPE_TIME;
	case 1114:
		return TYPE_TIMESTAMP;
	case 1184:
		return TYPE_TIMESTAMPTZ;
	case 114:
	case 3802:
		return TYPE_JSON;
	case 3220:
		return TYPE_LSN;
	case 628:
		return TYPE_LINE;
	case 19:
		return TYPE_NAME;
	default:
		return TYPE_TEXT;
	}
}

/* ---- the collection ------------------------------------------------------------------------------------------------------- */

static int by_oid(const void *a, const void *b)
{
	uint32_t x = (*(struct pg_type *const *)a)->oid, y = (*(struct pg_type *const *)b)->oid;
	return x < y ? -1 : x > y;
}

void type_catalog_add(struct type_catalog *t, const struct pg_type *type)
{
	struct pg_type *copy = arena_alloc(&t->arena, sizeof(*copy));
	*copy = *type;
	copy->schema = arena_copy(&t->arena, type->schema);
	copy->name = arena_copy(&t->arena, type->name);
	struct type_attribute *attributes = arena_array(&t->arena, struct type_attribute, type->attribute_count);
	for (size_t i = 0; i < type->attribute_count; i++) {
		attributes[i] = type->attributes[i];
		attributes[i].name = arena_copy(&t->arena, type->attributes[i].name);
	}
	copy->attributes = attributes;
	t->types = xgrow(t->types, t->count, &t->cap, sizeof(*t->types));
	t->types[t->count++] = copy;
}

const struct pg_type *type_find(const struct type_catalog *t, uint32_t oid)
{
	if (t->builtin && oid < FIRST_USER_OID)
		return type_find(t->builtin, oid);
	size_t low = 0, high = t->count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (t->types[middle]->oid == oid)
			return t->types[middle];
		if (t->types[middle]->oid < oid)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static bool array_always(const struct pg_type *element)
{
	return element && element->oid < FIRST_USER_OID && element->kind != TYPE_RANGE && element->kind != TYPE_MULTIRANGE &&
	       element->kind != TYPE_COMPOSITE && element->kind != TYPE_DOMAIN;
}

void type_catalog_seal(struct type_catalog *t)
{
	if (t->count)
		qsort(t->types, t->count, sizeof(*t->types), by_oid);
	for (size_t i = 0; i < t->count; i++) {
		struct pg_type *type = t->types[i];
		type->of = type->of_oid ? type_find(t, type->of_oid) : NULL;
		if (type->kind == TYPE_ARRAY)
			type->always = array_always(type->of);
		struct type_attribute *attributes = (struct type_attribute *)type->attributes;
		for (size_t a = 0; a < type->attribute_count; a++)
			attributes[a].type = type_find(t, attributes[a].type_oid);
	}
}

const struct pg_type *type_base(const struct pg_type *type)
{
	for (int i = 0; type && type->kind == TYPE_DOMAIN && i < MAX_ROUNDS; i++)
		type = type->of;
	return type;
}

void type_catalog_free(struct type_catalog *t)
{
	if (!t)
		return;
	free(t->types);
	arena_free(&t->arena);
	free(t);
}

/* ---- loading -------------------------------------------------------------------------------------------------------------- */

/*
 * One row a type, composites one a live attribute. An array is what its element type calls its array, so int2vector and the like,
 * which only have an element type, are none. Catalogues without multiranges (below 14) have no rngmultitypid.
 */
static void type_query(struct buf *sql, int version, const char *where)
{
	buf_lit(sql, "SELECT t.oid, n.nspname, t.typname, t.typtype,"
	             " CASE WHEN t.typtype = 'd' THEN t.typbasetype"
	             " WHEN t.typtype = 'r' THEN (SELECT rngsubtype FROM pg_catalog.pg_range WHERE rngtypid = t.oid)");
	if (version >= 140000)
		buf_lit(sql, " WHEN t.typtype = 'm' THEN (SELECT rngtypid FROM pg_catalog.pg_range WHERE rngmultitypid = t.oid)");
	buf_lit(sql, " WHEN e.oid IS NOT NULL THEN e.oid ELSE 0 END, e.typdelim, a.attname, a.atttypid"
	             " FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
	             " LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND e.typarray = t.oid"
	             " LEFT JOIN pg_catalog.pg_attribute a ON t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0"
	             " AND NOT a.attisdropped WHERE ");
	buf_printf(sql, "%s ORDER BY t.oid, a.attnum", where);
	buf_putc(sql, '\0');
}

static enum type_kind kind_of(char typtype, uint32_t oid, bool is_array)
{
	switch (typtype) {
	case 'd':
		return TYPE_DOMAIN;
	case 'c':
		return TYPE_COMPOSITE;
	case 'r':
		return TYPE_RANGE;
	case 'm':
		return TYPE_MULTIRANGE;
	case 'b':
		return is_array ? TYPE_ARRAY : type_base_kind(oid);
	default:
		return TYPE_TEXT;
	}
}

static void add_rows(struct type_catalog *t, const PGresult *r)
{
	int rows = PQntuples(r);
	for (int i = 0, end; i < rows; i = end) {
		uint32_t oid = (uint32_t)pg_field_u64(r, i, 0);
		for (end = i + 1; end < rows && pg_field_u64(r, end, 0) == oid; end++)
			;
		struct type_attribute *attributes = xcalloc((size_t)(end - i), sizeof(*attributes));
		size_t count = 0;
		for (int k = i; k < end; k++)
			if (!PQgetisnull(r, k, 6))
				attributes[count++] = (struct type_attribute){.name = pg_field(r, k, 6),
				                                              .type_oid = (uint32_t)pg_field_u64(r, k, 7)};
		char typtype = PQgetvalue(r, i, 3)[0];
		bool is_array = !PQgetisnull(r, i, 5);
		struct pg_type type = {.oid = oid,
		                       .kind = kind_of(typtype, oid, is_array),
		                       .of_oid = (uint32_t)pg_field_u64(r, i, 4),
		                       .delimiter = is_array ? PQgetvalue(r, i, 5)[0] : ',',
		                       .schema = pg_field(r, i, 1),
		                       .name = pg_field(r, i, 2),
		                       .attributes = attributes,
		                       .attribute_count = count};
		type_catalog_add(t, &type);
		free(attributes);
	}
}

static bool load_where(struct source_connection *c, struct type_catalog *t, const char *where, struct error *err)
{
	struct buf sql = {0};
	type_query(&sql, c->link.version, where);
	PGresult *r = link_query(&c->link, sql.p, SHORT_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	add_rows(t, r);
	PQclear(r);
	return true;
}

/* Two threads may both load it; the first to finish wins. Row types of system tables are nobody's columns. */
static const struct type_catalog *builtin(struct source_connection *c, struct error *err)
{
	struct source *s = c->link.source;
	pthread_mutex_lock(&s->lock);
	struct type_catalog *have = s->builtin;
	pthread_mutex_unlock(&s->lock);
	if (have)
		return have;
	struct type_catalog *t = xcalloc(1, sizeof(*t));
	if (!load_where(c, t, "t.oid < 16384 AND t.typtype IN ('b', 'd', 'r', 'm', 'p')", err)) {
		type_catalog_free(t);
		return NULL;
	}
	type_catalog_seal(t);
	pthread_mutex_lock(&s->lock);
	if (!s->builtin) {
		s->builtin = t;
		t = NULL;
	}
	have = s->builtin;
	pthread_mutex_unlock(&s->lock);
	type_catalog_free(t);
	return have;
}

struct oid_list {
	uint32_t *oids;
	size_t count, cap;
};

/* Adds oid if it is a user's type and not in the list yet. */
static void want(struct oid_list *list, uint32_t oid)
{
	if (oid < FIRST_USER_OID)
		return;
	for (size_t i = 0; i < list->count; i++)
		if (list->oids[i] == oid)
			return;
	list->oids = xgrow(list->oids, list->count, &list->cap, sizeof(*list->oids));
	list->oids[list->count++] = oid;
}

static bool load_user_types(struct source_connection *c, struct type_catalog *t, struct oid_list *list, struct error *err)
{
	size_t asked = 0;
	bool ok = true;
	for (int round = 0; ok && asked < list->count && round < MAX_ROUNDS; round++) {
		struct buf where = {0};
		buf_lit(&where, "t.oid IN (");
		for (size_t first = asked; asked < list->count; asked++)
			buf_printf(&where, "%s%u", asked > first ? "," : "", list->oids[asked]);
		buf_lit(&where, ")");
		buf_putc(&where, '\0');
		size_t had = t->count;
		ok = load_where(c, t, where.p, err);
		buf_free(&where);
		for (; had < t->count; had++) {
			const struct pg_type *type = t->types[had];
			want(list, type->of_oid);
			for (size_t a = 0; a < type->attribute_count; a++)
				want(list, type->attributes[a].type_oid);
		}
	}
	return ok;
}

struct type_catalog *type_catalog_load(struct source_connection *c, const uint32_t *oids, size_t count, struct error *err)
{
	const struct type_catalog *base = builtin(c, err);
	if (!base)
		return NULL;
	struct type_catalog *t = xcalloc(1, sizeof(*t));
	t->builtin = base;
	struct oid_list list = {0};
	for (size_t i = 0; i < count; i++)
		want(&list, oids[i]);
	bool ok = load_user_types(c, t, &list, err);
	free(list.oids);
	if (!ok) {
		type_catalog_free(t);
		return NULL;
	}
	type_catalog_seal(t);
	return t;
}
