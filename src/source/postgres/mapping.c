/* mapping.c: values of base types, and the mapper of a relation. */
#include "source/postgres/mapping.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/position.h"
#include "source/postgres/datetime.h"

/* ---- base types ----------------------------------------------------------------------------------------------------------- */

static struct value integer(struct slice text)
{
	int64_t i;
	return slice_parse_i64(text, &i) ? value_integer(i) : value_text(text);
}

/* strtod takes the server's forms, NaN and Infinity too. A float4's short text is read as a double: 0.1 stays 0.1. */
static struct value real(struct slice text)
{
	char copy[64], *end;
	if (text.n == 0 || text.n >= sizeof(copy))
		return value_text(text);
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	double r = strtod(copy, &end);
	return end == copy + text.n ? value_real(r) : value_text(text);
}

static int hexadecimal(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool bytes(struct slice text, struct arena *arena, struct value *out, struct error *err)
{
	if (!slice_starts(text, SLICE("\\x")) || text.n % 2)
		return error_set(err, "PSYNC_S1101", "bytea is not in hexadecimal form");
	size_t n = (text.n - 2) / 2;
	char *p = arena_bytes(arena, n);
	for (size_t i = 0; i < n; i++) {
		int high = hexadecimal(text.p[2 + 2 * i]), low = hexadecimal(text.p[3 + 2 * i]);
		if (high < 0 || low < 0)
			return error_set(err, "PSYNC_S1101", "bytea is not in hexadecimal form");
		p[i] = (char)(high << 4 | low);
	}
	*out = value_blob(slice_make(p, n));
	return true;
}

/* The padded form, whose text order is numeric order. */
static struct value lsn(struct slice text, struct arena *arena)
{
	uint64_t v;
	if (!lsn_parse(text, &v))
		return value_text(text);
	char *p = arena_bytes(arena, LSN_TEXT_SIZE);
	lsn_format(v, p);
	return value_text(slice_make(p, LSN_TEXT_SIZE - 1));
}

bool map_scalar(enum type_kind kind, struct slice text, const struct mapping_options *options, struct arena *arena,
                struct value *out, struct error *err)
{
	switch (kind) {
	case TYPE_INTEGER:
		*out = integer(text);
		return true;
	case TYPE_REAL:
		*out = real(text);
		return true;
	case TYPE_BOOL:
		*out = value_integer(text.n && text.p[0] == 't');
		return true;
	case TYPE_BYTEA:
		return bytes(text, arena, out, err);
	case TYPE_DATE:
		*out = datetime_date(text);
		return true;
	case TYPE_TIME:
		*out = datetime_time(text, options, arena);
		return true;
	case TYPE_TIMESTAMP:
		*out = datetime_timestamp(text, options, arena);
		return true;
	case TYPE_TIMESTAMPTZ:
		*out = datetime_timestamptz(text, options, arena);
		return true;
	case TYPE_LSN:
		*out = lsn(text, arena);
		return true;
	default:
		*out = value_text(text);
		return true;
	}
}

/* ---- all types ------------------------------------------------------------------------------------------------------------ */

bool type_is_structured(const struct pg_type *type, const struct mapping_options *options)
{
	switch (type->kind) {
	case TYPE_ARRAY:
		return type->always || options->custom_postgres_types;
	case TYPE_LINE:
	case TYPE_NAME:
	case TYPE_RANGE:
	case TYPE_MULTIRANGE:
	case TYPE_COMPOSITE:
		return options->custom_postgres_types;
	default:
		return false;
	}
}

static bool map_structured(const struct pg_type *type, struct slice text, const struct mapping_options *options,
                           struct arena *arena, struct value *out, struct error *err)
{
	/* An empty range is this word by itself, a JSON string inside others. */
	if (type->kind == TYPE_RANGE && slice_eq(text, SLICE("empty"))) {
		*out = value_text(text);
		return true;
	}
	struct buf json = {0};
	enum structure result = map_structure(&json, type, text, options, arena);
	*out = value_text(result == STRUCTURE_OK ? arena_copy(arena, buf_slice(&json)) : text);
	buf_free(&json);
	return result != STRUCTURE_TOO_DEEP ||
	       error_set(err, "PSYNC_S1004", "json nested object depth exceeds the limit of %d", MAX_NESTING - 1);
}

bool map_value(const struct pg_type *type, struct slice text, const struct mapping_options *options, struct arena *arena,
               struct value *out, struct error *err)
{
	type = type_base(type);
	if (type && type_is_structured(type, options))
		return map_structured(type, text, options, arena, out, err);
	return map_scalar(type ? type->kind : TYPE_TEXT, text, options, arena, out, err);
}

/* ---- the mapper ----------------------------------------------------------------------------------------------------------- */

/* value_mapper_stored */
enum lasting { LASTS_NOT, LASTS, LASTS_FINITE, LASTS_WITH_OPTIONS };

struct mapped_column {
	enum type_kind kind;              /* of the base type */
	const struct pg_type *structured; /* NULL for scalars */
	enum lasting lasting;
	struct slice name;
};

struct value_mapper {
	struct type_catalog *types;
	struct mapping_options options;
	struct mapped_column *columns;
	size_t count;
	struct arena arena;
};

/* A domain of an array is a text to the reference's stream. */
static enum lasting lasting_of(const struct pg_type *declared, const struct pg_type *type)
{
	if (!type)
		return LASTS_NOT;
	if (type->kind != TYPE_ARRAY)
		return type->kind == TYPE_TEXT || type->kind == TYPE_JSON || type->kind == TYPE_BYTEA ? LASTS : LASTS_NOT;
	if (declared != type || !type->always || !type->of)
		return LASTS_NOT;
	switch (type->of->kind) {
	case TYPE_TEXT:
	case TYPE_INTEGER:
	case TYPE_BOOL:
	case TYPE_JSON:
		return LASTS;
	case TYPE_REAL:
		return LASTS_FINITE;
	case TYPE_DATE:
	case TYPE_TIME:
	case TYPE_TIMESTAMP:
	case TYPE_TIMESTAMPTZ:
		return LASTS_WITH_OPTIONS;
	default:
		return LASTS_NOT;
	}
}

struct value_mapper *value_mapper_from_types(struct type_catalog *types, const struct source_relation *r,
                                             const struct mapping_options *options)
{
	struct value_mapper *m = xcalloc(1, sizeof(*m));
	m->types = types;
	m->options = *options;
	m->count = r->column_count;
	m->columns = arena_array(&m->arena, struct mapped_column, m->count);
	for (size_t i = 0; i < m->count; i++) {
		const struct pg_type *declared = type_find(types, r->columns[i].type_oid), *type = type_base(declared);
		m->columns[i] = (struct mapped_column){.kind = type ? type->kind : TYPE_TEXT,
		                                       .structured = type && type_is_structured(type, options) ? type : NULL,
		                                       .lasting = lasting_of(declared, type),
		                                       .name = arena_copy(&m->arena, r->columns[i].name)};
	}
	return m;
}

struct value_mapper *value_mapper_new(struct source_connection *c, const struct source_relation *r,
                                      const struct mapping_options *options, struct error *err)
{
	uint32_t *oids = xmalloc(sizeof(*oids) * r->column_count);
	for (size_t i = 0; i < r->column_count; i++)
		oids[i] = r->columns[i].type_oid;
	struct type_catalog *types = type_catalog_load(c, oids, r->column_count, err);
	free(oids);
	return types ? value_mapper_from_types(types, r, options) : NULL;
}

void value_mapper_free(struct value_mapper *m)
{
	if (!m)
		return;
	type_catalog_free(m->types);
	arena_free(&m->arena);
	free(m);
}

bool value_mapper_row(const struct value_mapper *m, const struct raw_value *raw, struct arena *arena, struct value *out,
                      struct error *err)
{
	for (size_t i = 0; i < m->count; i++) {
		const struct mapped_column *c = &m->columns[i];
		bool ok = true;
		if (raw[i].kind == RAW_UNCHANGED)
			out[i] = (struct value){.kind = VALUE_UNKNOWN};
		else if (raw[i].kind == RAW_NULL)
			out[i] = value_null();
		else if (raw[i].kind == RAW_VALUE)
			out[i] = raw_mapped(&raw[i]);
		else if (c->structured)
			ok = map_structured(c->structured, raw[i].text, &m->options, arena, &out[i], err);
		else
			ok = map_scalar(c->kind, raw[i].text, &m->options, arena, &out[i], err);
		if (!ok)
			return error_prefix(err, "column \"%.*s\": ", SLICE_ARG(c->name));
	}
	return true;
}

static bool lasts(const struct mapped_column *c, const struct value *stored, bool same_options)
{
	if (stored->kind != VALUE_TEXT && stored->kind != VALUE_BLOB)
		return false;
	/* An array of reals has no capitals but in these. */
	bool finite = stored->s.n == 0 || (!memchr(stored->s.p, 'N', stored->s.n) && !memchr(stored->s.p, 'I', stored->s.n));
	return c->lasting == LASTS || (c->lasting == LASTS_FINITE && finite) ||
	       (c->lasting == LASTS_WITH_OPTIONS && same_options);
}

bool value_mapper_stored(const struct value_mapper *m, size_t column, const struct value *stored, bool same_options,
                         struct raw_value *out)
{
	const struct mapped_column *c = &m->columns[column];
	if (stored->kind == VALUE_NULL)
		*out = (struct raw_value){.kind = RAW_NULL};
	else if (!lasts(c, stored, same_options))
		return false;
	else if (c->structured || stored->kind == VALUE_BLOB)
		*out = (struct raw_value){RAW_VALUE, slice_make((const char *)stored, sizeof(*stored))};
	else
		*out = (struct raw_value){RAW_TEXT, stored->s};
	return true;
}
