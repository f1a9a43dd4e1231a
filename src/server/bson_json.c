/* bson_json.c: one pass over the bytes, recursion bounded by MAX_DEPTH. */
#include "server/bson_json.h"

#include <math.h>
#include <string.h>

#include "value/value.h"

#define MAX_DEPTH 32

static bool document(struct slice *rest, struct buf *out, bool array, int depth);

static bool take(struct slice *rest, size_t n, struct slice *out)
{
	if (rest->n < n)
		return false;
	*out = slice_make(rest->p, n);
	*rest = slice_drop(*rest, n);
	return true;
}

static bool take_le(struct slice *rest, size_t bytes, uint64_t *out)
{
	struct slice s;
	if (!take(rest, bytes, &s))
		return false;
	*out = 0;
	for (size_t i = bytes; i-- > 0;)
		*out = *out << 8 | (unsigned char)s.p[i];
	return true;
}

static bool number(double d, struct buf *out)
{
	if (!isfinite(d))
		buf_lit(out, "null");
	else
		out->n += format_real(buf_reserve(out, 32), d, false);
	return true;
}

static bool text(struct slice *rest, struct buf *out)
{
	uint64_t n;
	struct slice s;
	if (!take_le(rest, 4, &n) || n == 0 || n > rest->n || !take(rest, (size_t)n, &s) || s.p[s.n - 1] != '\0')
		return false;
	json_append_string(out, slice_make(s.p, s.n - 1));
	return true;
}

static bool value(struct slice *rest, unsigned type, struct buf *out, int depth)
{
	uint64_t n;
	double d;
	switch (type) {
	case 0x01:
		if (!take_le(rest, 8, &n))
			return false;
		memcpy(&d, &n, sizeof(d));
		return number(d, out);
	case 0x02:
		return text(rest, out);
	case 0x03:
	case 0x04:
		return depth < MAX_DEPTH && document(rest, out, type == 0x04, depth + 1);
	case 0x08:
		if (!take_le(rest, 1, &n) || n > 1)
			return false;
		buf_append(out, n ? "true" : "false", n ? 4 : 5);
		return true;
	case 0x0a:
		buf_lit(out, "null");
		return true;
	case 0x10:
		if (!take_le(rest, 4, &n))
			return false;
		buf_i64(out, (int32_t)(uint32_t)n);
		return true;
	case 0x12:
		if (!take_le(rest, 8, &n))
			return false;
		buf_i64(out, (int64_t)n);
		return true;
	default:
		return false;
	}
}

static bool document(struct slice *rest, struct buf *out, bool array, int depth)
{
	uint64_t n;
	struct slice body;
	if (!take_le(rest, 4, &n) || n < 5 || !take(rest, (size_t)n - 4, &body) || body.p[body.n - 1] != '\0')
		return false;
	body.n--;
	buf_putc(out, array ? '[' : '{');
	bool first = true;
	while (body.n) {
		unsigned type = (unsigned char)body.p[0];
		const char *end = memchr(body.p + 1, '\0', body.n - 1);
		if (!end)
			return false;
		struct slice key = slice_make(body.p + 1, (size_t)(end - body.p) - 1);
		body = slice_drop(body, key.n + 2);
		if (type == 0x06)
			continue; /* undefined: as if it were not there */
		if (!first)
			buf_putc(out, ',');
		first = false;
		if (!array) {
			json_append_string(out, key);
			buf_putc(out, ':');
		}
		if (!value(&body, type, out, depth))
			return false;
	}
	buf_putc(out, array ? ']' : '}');
	return true;
}

bool bson_to_json(struct slice bytes, struct buf *out)
{
	struct slice rest = bytes;
	return document(&rest, out, false, 0) && rest.n == 0;
}
