/* bson.c: see bson.h. */
#include "storage/postgres/bson.h"

#include <endian.h>
#include <math.h>
#include <stdlib.h>

#include "value/json.h"
#include "value/uuid.h"

enum bson_type {
	BSON_DOUBLE = 0x01,
	BSON_TEXT = 0x02,
	BSON_DOCUMENT = 0x03,
	BSON_ARRAY = 0x04,
	BSON_BINARY = 0x05,
	BSON_BOOLEAN = 0x08,
	BSON_NULL = 0x0A,
	BSON_INT32 = 0x10,
	BSON_INT64 = 0x12,
};
#define SUBTYPE_GENERIC 0
#define SUBTYPE_UUID 4
#define MAX_DEPTH 100 /* of documents read back; those written come from JSON_MAX_DEPTH at most */

/* a396dd91-09fc-4017-a28d-3df722f651e9 */

/* ---- writing ---------------------------------------------------------------------------------------------------------------------- */

static void put_u32(struct buf *out, uint32_t v)
{
	v = htole32(v);
	buf_append(out, &v, sizeof(v));
}

static void put_u64(struct buf *out, uint64_t v)
{
	v = htole64(v);
	buf_append(out, &v, sizeof(v));
}

/* Where the document's length goes once it is known. */
static size_t document_begin(struct buf *out)
{
	put_u32(out, 0);
	return out->n - 4;
}

static void document_end(struct buf *out, size_t at)
{
	buf_putc(out, '\0');
	uint32_t n = htole32((uint32_t)(out->n - at));
	memcpy(out->p + at, &n, sizeof(n));
}

static void put_name(struct buf *out, enum bson_type type, struct slice name)
{
	buf_putc(out, (char)type);
	buf_slice_append(out, name);
	buf_putc(out, '\0');
}

static void put_text(struct buf *out, struct slice name, struct slice text)
{
	put_name(out, BSON_TEXT, name);
	put_u32(out, (uint32_t)text.n + 1);
	buf_slice_append(out, text);
	buf_putc(out, '\0');
}

static void put_int64(struct buf *out, struct slice name, int64_t v)
{
	put_name(out, BSON_INT64, name);
	put_u64(out, (uint64_t)v);
}

static void put_real(struct buf *out, struct slice name, double r)
{
	if (r >= -2147483648.0 && r <= 2147483647.0 && r == trunc(r) && !(r == 0 && signbit(r))) {
		put_name(out, BSON_INT32, name);
		put_u32(out, (uint32_t)(int32_t)r);
		return;
	}
	uint64_t bits;
	memcpy(&bits, &r, sizeof(bits));
	put_name(out, BSON_DOUBLE, name);
	put_u64(out, bits);
}

static void put_binary(struct buf *out, struct slice name, int subtype, struct slice bytes)
{
	put_name(out, BSON_BINARY, name);
	put_u32(out, (uint32_t)bytes.n);
	buf_putc(out, (char)subtype);
	buf_slice_append(out, bytes);
}

static void put_value(struct buf *out, struct slice name, const struct value *v)
{
	switch (v->kind) {
	case VALUE_ABSENT:
	case VALUE_UNKNOWN:
		break;
	case VALUE_NULL:
		put_name(out, BSON_NULL, name);
		break;
	case VALUE_INTEGER:
		put_int64(out, name, v->i);
		break;
	case VALUE_REAL:
		put_real(out, name, v->r);
		break;
	case VALUE_TEXT:
		put_text(out, name, v->s);
		break;
	case VALUE_BLOB:
		put_binary(out, name, SUBTYPE_GENERIC, v->s);
		break;
	}
}

void bson_row(struct buf *out, const struct slice *names, const struct value *values, size_t count)
{
	size_t at = document_begin(out);
	for (size_t i = 0; i < count; i++)
		put_value(out, names[i], &values[i]);
	document_end(out, at);
}

void bson_source_key(struct buf *out, const uint8_t uuid[16])
{
	size_t at = document_begin(out);
	put_binary(out, SLICE("id"), SUBTYPE_UUID, slice_make(uuid, 16));
	document_end(out, at);
}

void bson_source_key_value(struct buf *out, const struct value *replica_id)
{
	bson_row(out, &SLICE("id"), replica_id, 1);
}

static struct slice index_name(char digits[20], size_t i)
{
	return slice_make(digits, format_u64(digits, i));
}

/* Elements of a lookup: numbers that SQL compares are int64 when whole; those inside of arrays and objects were read as doubles. */
static void put_json(struct buf *out, struct slice name, const struct json_node *n, bool top)
{
	size_t at;
	char digits[20];
	switch (n->kind) {
	case JSON_KIND_NULL:
		put_name(out, BSON_NULL, name);
		break;
	case JSON_KIND_BOOLEAN:
		put_name(out, BSON_BOOLEAN, name);
		buf_putc(out, n->b);
		break;
	case JSON_KIND_INTEGER:
		put_int64(out, name, n->i);
		break;
	case JSON_KIND_REAL:
		if (top && n->r == trunc(n->r) && fabs(n->r) < 9223372036854775808.0)
			put_int64(out, name, (int64_t)n->r);
		else
			put_real(out, name, n->r);
		break;
	case JSON_KIND_STRING:
	case JSON_KIND_BIG_INTEGER: /* a whole real beyond 64 bits never gets here: the reader of keys refuses it */
		put_text(out, name, n->s);
		break;
	case JSON_KIND_ARRAY:
		put_name(out, BSON_ARRAY, name);
		at = document_begin(out);
		for (size_t i = 0; i < n->array.count; i++)
			put_json(out, index_name(digits, i), &n->array.items[i], false);
		document_end(out, at);
		break;
	case JSON_KIND_OBJECT:
		put_name(out, BSON_DOCUMENT, name);
		at = document_begin(out);
		for (size_t i = 0; i < n->object.count; i++)
			put_json(out, n->object.members[i].key, &n->object.members[i].value, false);
		document_end(out, at);
		break;
	}
}

bool bson_lookup(struct buf *out, struct slice name, struct slice query_id, struct slice key, struct arena *arena,
                 struct error *err)
{
	struct json_node node;
	char digits[20];
	if (!json_read(key, JSON_EXACT, arena, &node, err))
		return false;
	if (node.kind != JSON_KIND_ARRAY)
		return error_set(err, "PSYNC_S2404", "the key of a parameter lookup is no JSON array");
	size_t whole = document_begin(out);
	put_name(out, BSON_ARRAY, SLICE("l"));
	size_t list = document_begin(out);
	put_text(out, SLICE("0"), name);
	put_text(out, SLICE("1"), query_id);
	for (size_t i = 0; i < node.array.count; i++) {
		struct json_node *n = &node.array.items[i];
		if (n->kind == JSON_KIND_BIG_INTEGER) /* a whole real that no int64 holds */
			*n = (struct json_node){.kind = JSON_KIND_REAL, .r = strtod(arena_cstr(arena, n->s), NULL)};
		put_json(out, index_name(digits, i + 2), n, true);
	}
	document_end(out, list);
	document_end(out, whole);
	return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------------------------------- */

struct element {
	enum bson_type type;
	struct slice name, bytes; /* of the value: the text, the binary data, the document */
	int subtype;
	int64_t i;
	double r;
};

static uint32_t get_u32(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get_u64(const char *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* The elements of a document, without its length and final byte. */
static bool document_open(struct slice doc, struct slice *elements)
{
	if (doc.n < 5 || get_u32(doc.p) != doc.n || doc.p[doc.n - 1])
		return false;
	*elements = slice_make(doc.p + 4, doc.n - 5);
	return true;
}

static bool take(struct slice *rest, size_t n, struct slice *out)
{
	if (rest->n < n)
		return false;
	*out = slice_make(rest->p, n);
	*rest = slice_drop(*rest, n);
	return true;
}

static bool take_value(struct slice *rest, struct element *e)
{
	struct slice b;
	switch (e->type) {
	case BSON_DOUBLE:
		if (!take(rest, 8, &b))
			return false;
		uint64_t bits = get_u64(b.p);
		memcpy(&e->r, &bits, sizeof(e->r));
		return true;
	case BSON_INT32:
		return take(rest, 4, &b) && (e->r = (int32_t)get_u32(b.p), true);
	case BSON_INT64:
		return take(rest, 8, &b) && (e->i = (int64_t)get_u64(b.p), true);
	case BSON_BOOLEAN:
		return take(rest, 1, &b) && (e->i = b.p[0], true);
	case BSON_NULL:
		return true;
	case BSON_TEXT:
		if (!take(rest, 4, &b) || !get_u32(b.p) || !take(rest, get_u32(b.p), &e->bytes) || e->bytes.p[e->bytes.n - 1])
			return false;
		e->bytes.n--;
		return true;
	case BSON_BINARY:
		if (!take(rest, 5, &b))
			return false;
		e->subtype = (uint8_t)b.p[4];
		return take(rest, get_u32(b.p), &e->bytes);
	case BSON_DOCUMENT:
	case BSON_ARRAY:
		return rest->n >= 5 && take(rest, get_u32(rest->p), &e->bytes) && e->bytes.n >= 5;
	}
	return false;
}

static bool take_element(struct slice *rest, struct element *e)
{
	*e = (struct element){.type = (enum bson_type)(uint8_t)rest->p[0]};
	const char *end = memchr(rest->p + 1, 0, rest->n - 1);
	if (!end)
		return false;
	e->name = slice_make(rest->p + 1, (size_t)(end - rest->p) - 1);
	*rest = slice_drop(*rest, e->name.n + 2);
	return take_value(rest, e);
}

static bool bad(struct error *err, const char *what)
{
	return error_set(err, "PSYNC_S2404", "the store has %s that cannot be read", what);
}

static size_t count_elements(struct slice rest)
{
	struct element e;
	size_t n = 0;
	while (rest.n && take_element(&rest, &e))
		n++;
	return rest.n ? SIZE_MAX : n;
}

static bool element_value(const struct element *e, struct value *out)
{
	switch (e->type) {
	case BSON_DOUBLE:
	case BSON_INT32:
		*out = value_real(e->r);
		return true;
	case BSON_INT64:
		*out = value_integer(e->i);
		return true;
	case BSON_NULL:
		*out = value_null();
		return true;
	case BSON_TEXT:
		*out = value_text(e->bytes);
		return true;
	case BSON_BINARY:
		*out = value_blob(e->bytes);
		return true;
	default:
		return false;
	}
}

bool bson_row_read(struct slice doc, struct arena *arena, struct slice **names, struct value **values, size_t *count,
                   struct error *err)
{
	struct slice rest;
	struct element e;
	if (!document_open(doc, &rest))
		return bad(err, "a row");
	size_t n = count_elements(rest);
	if (n == SIZE_MAX)
		return bad(err, "a row");
	*names = arena_array(arena, struct slice, n + 1);
	*values = arena_array(arena, struct value, n + 1);
	*count = n;
	for (size_t i = 0; i < n; i++) {
		take_element(&rest, &e);
		(*names)[i] = e.name;
		if (!element_value(&e, &(*values)[i]))
			return bad(err, "a row");
	}
	return true;
}

bool bson_source_key_uuid(struct slice source_key, uint8_t uuid[16])
{
	struct slice rest;
	struct element e;
	if (!document_open(source_key, &rest) || !rest.n || !take_element(&rest, &e) || e.type != BSON_BINARY ||
	    e.subtype != SUBTYPE_UUID || e.bytes.n != 16)
		return false;
	memcpy(uuid, e.bytes.p, 16);
	return true;
}

static bool element_json(struct buf *out, const struct element *e, int depth);

static bool members_json(struct buf *out, struct slice rest, bool object, int depth)
{
	struct element e;
	bool first = true;
	if (depth > MAX_DEPTH)
		return false;
	buf_putc(out, object ? '{' : '[');
	while (rest.n) {
		if (!take_element(&rest, &e))
			return false;
		if (!first)
			buf_putc(out, ',');
		first = false;
		if (object) {
			json_append_string(out, e.name);
			buf_putc(out, ':');
		}
		if (!element_json(out, &e, depth))
			return false;
	}
	buf_putc(out, object ? '}' : ']');
	return true;
}

static bool element_json(struct buf *out, const struct element *e, int depth)
{
	struct value v;
	struct slice rest;
	if (e->type == BSON_BOOLEAN) {
		buf_append(out, e->i ? "true" : "false", e->i ? 4 : 5);
		return true;
	}
	if (e->type == BSON_DOCUMENT || e->type == BSON_ARRAY)
		return document_open(e->bytes, &rest) && members_json(out, rest, e->type == BSON_DOCUMENT, depth + 1);
	if (e->type == BSON_BINARY || !element_value(e, &v))
		return false;
	value_json(out, &v);
	return true;
}

bool bson_lookup_read(struct slice doc, struct arena *arena, struct slice *name, struct slice *query_id, struct slice *key,
                      struct error *err)
{
	struct slice rest, list;
	struct element l, e[2];
	if (!document_open(doc, &rest) || !rest.n || !take_element(&rest, &l) || l.type != BSON_ARRAY ||
	    !document_open(l.bytes, &list))
		return bad(err, "a parameter lookup");
	for (int i = 0; i < 2; i++)
		if (!list.n || !take_element(&list, &e[i]) || e[i].type != BSON_TEXT)
			return bad(err, "a parameter lookup");
	struct buf text = {0};
	bool ok = members_json(&text, list, false, 0);
	*name = e[0].bytes;
	*query_id = e[1].bytes;
	*key = arena_copy(arena, buf_slice(&text));
	buf_free(&text);
	return ok || bad(err, "a parameter lookup");
}

/* ---- UUIDs -------------------------------------------------------------------------------------------------------------------------- */

void bson_replica_uuid(const struct slice *names, const struct value *values, size_t count, uint8_t uuid[16])
{
	struct buf doc = {0};
	bson_row(&doc, names, values, count);
	uuid_of_identity(&(struct slice){doc.p, doc.n}, 1, uuid);
	buf_free(&doc);
}

bool bson_subkey_uuid(struct slice table_id, struct slice source_key, uint8_t uuid[16])
{
	struct slice rest;
	if (!document_open(source_key, &rest))
		return false;
	struct buf doc = {0};
	size_t at = document_begin(&doc);
	put_text(&doc, SLICE("table"), table_id);
	buf_slice_append(&doc, rest); /* id: the replica id */
	document_end(&doc, at);
	uuid_of_identity(&(struct slice){doc.p, doc.n}, 1, uuid);
	buf_free(&doc);
	return true;
}
