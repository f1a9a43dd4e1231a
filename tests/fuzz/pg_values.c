/*
 * pg_values.c: the parsers of the server's texts on arbitrary bytes. The first byte chooses the type, the second the options; COPY rows,
 * snapshots and positions are tried with the same bytes. JSON that comes out must be balanced.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "source/postgres/chunk_plan.h"
#include "source/postgres/copy_text.h"
#include "source/postgres/mapping.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* json (114) is embedded unchecked, so it is not among them. */
static const uint32_t base_types[] = {16, 17, 19, 20, 23, 25, 603, 628, 701, 1082, 1083, 1114, 1184, 3220};
enum { BASE_TYPES = sizeof(base_types) / sizeof(*base_types), FIRST = 20000, COMPOSITE = 30000, OUTER, DOMAIN, ARRAY };

/* Of each base type an array, a range and a multirange; a composite of many, an array of it, a domain, and a composite around. */
static struct type_catalog *make_types(void)
{
	struct type_catalog *t = xcalloc(1, sizeof(*t));
	struct type_attribute attributes[BASE_TYPES];
	for (uint32_t i = 0; i < BASE_TYPES; i++) {
		struct pg_type base = {.oid = base_types[i], .kind = type_base_kind(base_types[i])};
		struct pg_type array = {
		        .oid = FIRST + 3 * i, .kind = TYPE_ARRAY, .of_oid = base.oid, .delimiter = base.oid == 603 ? ';' : ','};
		struct pg_type range = {.oid = FIRST + 3 * i + 1, .kind = TYPE_RANGE, .of_oid = base.oid};
		struct pg_type multirange = {.oid = FIRST + 3 * i + 2, .kind = TYPE_MULTIRANGE, .of_oid = range.oid};
		type_catalog_add(t, &base);
		type_catalog_add(t, &array);
		type_catalog_add(t, &range);
		type_catalog_add(t, &multirange);
		attributes[i] = (struct type_attribute){SLICE("name"), FIRST + 3 * i, NULL};
	}
	struct pg_type composite = {.oid = COMPOSITE, .kind = TYPE_COMPOSITE, .attributes = attributes, .attribute_count = 3};
	struct pg_type array = {.oid = ARRAY, .kind = TYPE_ARRAY, .of_oid = COMPOSITE, .delimiter = ','};
	struct type_attribute inner[] = {{SLICE("a"), ARRAY, NULL}, {SLICE("b"), DOMAIN, NULL}};
	struct pg_type outer = {.oid = OUTER, .kind = TYPE_COMPOSITE, .attributes = inner, .attribute_count = 2};
	struct pg_type domain = {.oid = DOMAIN, .kind = TYPE_DOMAIN, .of_oid = ARRAY};
	type_catalog_add(t, &composite);
	type_catalog_add(t, &array);
	type_catalog_add(t, &outer);
	type_catalog_add(t, &domain);
	type_catalog_seal(t);
	return t;
}

/* Brackets outside of strings close in order, and not deeper than the limit. */
static void check_json(struct slice s)
{
	char open[MAX_NESTING];
	size_t depth = 0;
	bool quoted = false;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (quoted) {
			i += c == '\\';
			quoted = c != '"';
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (depth == sizeof(open))
				abort();
			open[depth++] = c;
		} else if (c == '}' || c == ']') {
			if (depth == 0 || open[--depth] != (c == '}' ? '{' : '['))
				abort();
		}
	}
	if (quoted || depth)
		abort();
}

static void check_position(struct slice s, struct arena *arena)
{
	static const struct slice names[] = {SLICE_INIT("a"), SLICE_INIT("b")};
	static const size_t columns[] = {0, 1};
	struct chunk_position at;
	for (size_t keys = 0; keys <= 2; keys += 2) {
		struct chunk_plan p = {
		        .table = {.table = {.order_key = names, .order_key_count = keys, .relfilenode = 0x30303030}},
		        .order_columns = columns,
		        .order_hash = UINT64_C(0x3030303030303030)};
		if (chunk_position_read(&p, s, arena, &at) && !slice_eq(chunk_position_write(&p, &at, arena), s))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct type_catalog *types;
	static struct arena arena;
	struct raw_value values[8];
	struct xid_snapshot snapshot;
	struct error err;
	struct value v;
	if (!types)
		types = make_types();
	if (size < 2)
		return 0;
	arena_reset(&arena);
	const struct pg_type *type = types->types[data[0] % types->count];
	struct mapping_options options = {data[1] & 1, data[1] & 2, (data[1] >> 2) % 8 - 1};
	char *copy = xmalloc(size - 2); /* of its own, so that a read behind it is noticed */
	struct slice text = slice_make(copy, size - 2);
	memcpy(copy, data + 2, size - 2);
	if (map_value(type, text, &options, &arena, &v, &err) && v.kind == VALUE_TEXT &&
	    type_is_structured(type_base(type), &options) && v.s.p != text.p)
		check_json(v.s);
	copy_text_row(text, &arena, values, data[1] % 9);
	snapshot_parse(text, &arena, &snapshot);
	check_position(text, &arena);
	free(copy);
	return 0;
}
