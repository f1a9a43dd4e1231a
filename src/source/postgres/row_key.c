/* row_key.c: keys of rows, and how large a row can be on disk. */
#include <stdlib.h>

#include "source/source.h"
#include "value/uuid.h"

#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23
#define OID_UUID 2950

/*
 * Each key column: a tag, then
 *   0x00 NULL
 *   0x01 int2, int4, int8: 8 bytes, big-endian, sign flipped
 *   0x02 uuid: 16 bytes
 *   0x03 anything else: its text, 0x00 written as 00 FF, ended by 00 00
 *   0x04 a value that the message did not have (a key must not have any; kept apart from all others)
 * so that keys of one table compare bytewise like their columns one after the other (texts bytewise), and none is the prefix of another.
 */
enum { TAG_NULL, TAG_INTEGER, TAG_UUID, TAG_TEXT, TAG_UNKNOWN };

static char *put_integer(char *p, int64_t i)
{
	uint64_t v = (uint64_t)i ^ UINT64_C(0x8000000000000000);
	for (int shift = 56; shift >= 0; shift -= 8)
		*p++ = (char)(v >> shift);
	return p;
}

static int hexadecimal(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The server's form: 8-4-4-4-12 lower-case digits. NULL if it is not that. */
static char *put_uuid(char *p, struct slice text)
{
	if (text.n != 36)
		return NULL;
	for (size_t i = 0; i < text.n; i += 2) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (text.p[i++] != '-')
				return NULL;
		}
		int high = hexadecimal(text.p[i]), low = hexadecimal(text.p[i + 1]);
		if (high < 0 || low < 0)
			return NULL;
		*p++ = (char)(high << 4 | low);
	}
	return p;
}

static char *put_text(char *p, struct slice text)
{
	const char *from = text.p, *end = text.p + text.n, *zero;
	while (from < end && (zero = memchr(from, 0, (size_t)(end - from)))) {
		memcpy(p, from, (size_t)(zero - from));
		p += zero - from;
		*p++ = 0;
		*p++ = (char)0xff;
		from = zero + 1;
	}
	if (from < end)
		memcpy(p, from, (size_t)(end - from));
	p += end - from;
	*p++ = 0;
	*p++ = 0;
	return p;
}

static char *put_column(char *p, uint32_t type, const struct raw_value *v)
{
	int64_t i;
	if (v->kind != RAW_TEXT) {
		*p++ = v->kind == RAW_NULL ? TAG_NULL : TAG_UNKNOWN;
		return p;
	}
	if ((type == OID_INT4 || type == OID_INT8 || type == OID_INT2) && slice_parse_i64(v->text, &i)) {
		*p++ = TAG_INTEGER;
		return put_integer(p, i);
	}
	if (type == OID_UUID) {
		char *end = put_uuid(p + 1, v->text);
		if (end) {
			*p = TAG_UUID;
			return end;
		}
	}
	*p++ = TAG_TEXT;
	return put_text(p, v->text);
}

void source_row_key(const struct source_relation *r, const struct raw_value *raw, struct arena *arena, struct slice *out,
                    uint8_t uuid[16])
{
	size_t room = 0;
	for (size_t i = 0; i < r->column_count; i++)
		if (r->columns[i].in_key)
			room += 1 + (raw[i].kind == RAW_TEXT ? 2 * raw[i].text.n + 16 : 0);
	char *start = arena_bytes(arena, room), *p = start;
	for (size_t i = 0; i < r->column_count; i++)
		if (r->columns[i].in_key)
			p = put_column(p, r->columns[i].type_oid, &raw[i]);
	*out = slice_make(start, (size_t)(p - start));
	uuid_of_identity(out, 1, uuid);
}

/* ---- size ----------------------------------------------------------------------------------------------------------------- */

/*
 * Bytes of one value on disk at most, alignment included. Fixed-length types by their size. Texts are stored as they are (or shorter,
 * compressed) behind a header. What else there is has a binary form that is usually shorter than its text; the worst known ratio is
 * an array or composite of short values (an element "0" is two characters and 8 bytes, a NULL composite field one character and 12),
 * so twelve times the text and some headers is safe.
 */
static size_t column_bound(uint32_t type, size_t n)
{
	switch (type) {
	case 16: /* bool */
	case 18: /* "char" */
		return 1;
	case 21: /* int2 */
		return 2 + 1;
	case 23:   /* int4 */
	case 26:   /* oid */
	case 700:  /* float4 */
	case 1082: /* date */
		return 4 + 3;
	case 20:   /* int8 */
	case 701:  /* float8 */
	case 790:  /* money */
	case 1083: /* time */
	case 1114: /* timestamp */
	case 1184: /* timestamptz */
	case 3220: /* pg_lsn */
		return 8 + 7;
	case 1186: /* interval */
	case OID_UUID:
	case 1266: /* timetz */
		return 16 + 7;
	case 17: /* bytea: two hex digits a byte */
		return n / 2 + 4 + 3;
	case 25:   /* text */
	case 1043: /* varchar */
	case 1042: /* char(n) */
	case 114:  /* json */
	case 142:  /* xml */
		return n + 4 + 3;
	case 1700: /* numeric: two bytes for four digits, in groups that begin at the point */
		return n / 2 + 16 + 3;
	case 3802: /* jsonb: a word a value beside its text, numbers as numeric */
		return 8 * n + 64;
	default:
		return 12 * n + 64;
	}
}

size_t source_row_size_bound(const struct source_relation *r, const struct raw_value *raw)
{
	/* Tuple header with bitmap, aligned; columns that are not published are not seen, so the bound is of the published row. */
	size_t n = 32 + r->column_count / 8;
	for (size_t i = 0; i < r->column_count; i++)
		if (raw[i].kind == RAW_TEXT)
			n += column_bound(r->columns[i].type_oid, raw[i].text.n);
		else if (raw[i].kind == RAW_UNCHANGED || raw[i].kind == RAW_VALUE)
			n += 4096; /* a value that lies out of line */
	return n;
}
