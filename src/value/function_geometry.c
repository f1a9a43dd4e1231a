/*
 * function_geometry.c: the st_ functions, sync-config 11.5, on WKB, EWKB (flags in the type code) and ISO WKB (thousands in the code).
 *
 * The bytes are read and written out in one pass. Counts need no limit of their own: every element that is counted must be there.
 */
#include <math.h>

#include "value/function_groups.h"

#define MAX_NESTING 32

enum { POINT = 1, LINE, POLYGON, MULTI_POINT, MULTI_LINE, MULTI_POLYGON, COLLECTION };

static const char *const json_names[] = {"",           "Point",           "LineString",   "Polygon",
                                         "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"};
static const char *const text_names[] = {"",           "POINT",           "LINESTRING",   "POLYGON",
                                         "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION"};

struct reader {
	const uint8_t *p, *end;
	struct buf *out;
	bool json;   /* GeoJSON, else WKT */
	bool json_z; /* the geometry that is being written has Z */
	int nesting;
	double x, y; /* of the last point read */
	struct error *err;
};

struct head {
	uint32_t type;
	bool little, z, m;
};

static bool fail(struct reader *r, const char *what)
{
	return error_set(r->err, "", "bad geometry: %s", what);
}

static uint64_t read_uint(struct reader *r, size_t n, bool little)
{
	uint64_t v = 0;
	for (size_t i = 0; i < n; i++)
		v |= (uint64_t)r->p[i] << 8 * (little ? i : n - 1 - i);
	r->p += n;
	return v;
}

static bool has(const struct reader *r, size_t n)
{
	return (size_t)(r->end - r->p) >= n;
}

static bool read_u32(struct reader *r, bool little, uint32_t *out)
{
	if (!has(r, 4))
		return fail(r, "it ends early");
	*out = (uint32_t)read_uint(r, 4, little);
	return true;
}

static bool read_head(struct reader *r, struct head *h)
{
	uint32_t code, srid;
	if (!has(r, 1) || r->p[0] > 1)
		return fail(r, "no byte order");
	h->little = *r->p++ == 1;
	if (!read_u32(r, h->little, &code))
		return false;
	if ((code & 0x20000000) && !read_u32(r, h->little, &srid))
		return false;
	uint32_t plain = code & 0x0fffffff, iso = plain / 1000;
	h->type = plain % 1000;
	if (h->type < POINT || h->type > COLLECTION || iso > 3)
		return fail(r, "unknown type");
	h->z = (code & 0x80000000) || iso == 1 || iso == 3;
	h->m = (code & 0x40000000) || iso == 2 || iso == 3;
	return true;
}

static void put_number(struct reader *r, double d)
{
	r->out->n += format_real(buf_reserve(r->out, 32), d, r->json);
}

static bool put_point(struct reader *r, const struct head *h)
{
	size_t dimensions = 2u + h->z + h->m, shown = r->json ? 2u + (h->z && r->json_z) : dimensions;
	if (!has(r, 8 * dimensions))
		return fail(r, "it ends early");
	if (r->json)
		buf_putc(r->out, '[');
	for (size_t i = 0; i < dimensions; i++) {
		uint64_t bits = read_uint(r, 8, h->little);
		double d;
		memcpy(&d, &bits, sizeof(d));
		if (i == 0)
			r->x = d;
		if (i == 1)
			r->y = d;
		if (i >= shown)
			continue;
		if (i)
			buf_putc(r->out, r->json ? ',' : ' ');
		put_number(r, d);
	}
	if (r->json)
		buf_putc(r->out, ']');
	return true;
}

/* level 0: a point; 1: points; 2: rings. */
static bool put_coordinates(struct reader *r, const struct head *h, unsigned level)
{
	uint32_t count;
	if (level == 0)
		return put_point(r, h);
	if (!read_u32(r, h->little, &count))
		return false;
	buf_putc(r->out, r->json ? '[' : '(');
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			buf_putc(r->out, ',');
		if (!put_coordinates(r, h, level - 1))
			return false;
	}
	buf_putc(r->out, r->json ? ']' : ')');
	return true;
}

static bool put_geometry(struct reader *r);

/* The members of a multi-geometry or collection. */
static bool put_members(struct reader *r, const struct head *h)
{
	uint32_t count;
	if (!read_u32(r, h->little, &count))
		return false;
	buf_putc(r->out, r->json ? '[' : '(');
	for (uint32_t i = 0; i < count; i++) {
		struct head member;
		if (i)
			buf_putc(r->out, ',');
		if (h->type == COLLECTION) {
			if (!put_geometry(r))
				return false;
			continue;
		}
		if (!read_head(r, &member))
			return false;
		if (member.type != h->type - MULTI_POINT + POINT)
			return fail(r, "a member has the wrong type");
		if (!put_coordinates(r, &member, member.type - POINT))
			return false;
	}
	buf_putc(r->out, r->json ? ']' : ')');
	return true;
}

static bool put_body(struct reader *r, const struct head *h)
{
	return h->type <= POLYGON ? put_coordinates(r, h, h->type - POINT) : put_members(r, h);
}

static bool put_geojson(struct reader *r, const struct head *h)
{
	buf_printf(r->out, "{\"type\":\"%s\",\"%s\":", json_names[h->type], h->type == COLLECTION ? "geometries" : "coordinates");
	r->json_z = h->z;
	if (!put_body(r, h))
		return false;
	buf_putc(r->out, '}');
	return true;
}

static bool put_text(struct reader *r, const struct head *h)
{
	buf_printf(r->out, "%s%s", text_names[h->type], h->z && h->m ? " ZM" : h->z ? " Z" : h->m ? " M" : "");
	if (h->type != POINT && has(r, 4) && memcmp(r->p, "\0\0\0\0", 4) == 0) {
		r->p += 4;
		buf_lit(r->out, " EMPTY");
		return true;
	}
	if (h->z || h->m)
		buf_putc(r->out, ' ');
	if (h->type != POINT)
		return put_body(r, h);
	buf_putc(r->out, '(');
	if (!put_point(r, h))
		return false;
	buf_putc(r->out, ')');
	return true;
}

static bool put_geometry(struct reader *r)
{
	struct head h;
	if (++r->nesting > MAX_NESTING)
		return fail(r, "nested too deeply");
	if (!read_head(r, &h))
		return false;
	bool ok = r->json ? put_geojson(r, &h) : put_text(r, &h);
	r->nesting--;
	return ok;
}

static int hex_digit(char c)
{
	char lower = (char)(c | 0x20);
	return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Text is hex, up to the first pair that is none. */
static struct slice geometry_bytes(const struct value *x, struct arena *arena)
{
	if (x->kind == VALUE_BLOB)
		return x->s;
	char *bytes = arena_bytes(arena, x->s.n / 2 + 1);
	size_t n = 0;
	for (; 2 * n + 1 < x->s.n; n++) {
		int high = hex_digit(x->s.p[2 * n]), low = hex_digit(x->s.p[2 * n + 1]);
		if (high < 0 || low < 0)
			break;
		bytes[n] = (char)(high << 4 | low);
	}
	return slice_make(bytes, n);
}

/* Writes the geometry to text; *applies is false if x cannot be one, and the result then is NULL. */
static bool read_geometry(struct function_context *ctx, const struct value *x, bool json, struct reader *r, struct buf *text,
                          bool *applies, struct error *err)
{
	*applies = x->kind == VALUE_BLOB || x->kind == VALUE_TEXT;
	if (!*applies)
		return true;
	struct slice bytes = geometry_bytes(x, ctx->arena);
	const uint8_t *p = (const uint8_t *)bytes.p;
	*r = (struct reader){.p = p, .end = p + bytes.n, .out = text, .json = json, .err = err};
	return put_geometry(r);
}

static bool geometry_text(struct function_context *ctx, const struct value *args, size_t n, bool json, struct value *out,
                          struct error *err)
{
	struct buf text = {0};
	struct reader r;
	bool applies;
	*out = value_null();
	bool ok = read_geometry(ctx, function_arg(args, n, 0), json, &r, &text, &applies, err);
	if (ok && applies)
		*out = value_text(arena_copy(ctx->arena, buf_slice(&text)));
	buf_free(&text);
	return ok;
}

bool function_st_asgeojson(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	return geometry_text(ctx, args, n, true, out, err);
}

bool function_st_astext(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	return geometry_text(ctx, args, n, false, out, err);
}

/* NULL unless it is a point. */
static bool point_coordinate(struct function_context *ctx, const struct value *args, size_t n, bool want_y, struct value *out,
                             struct error *err)
{
	struct buf text = {0};
	struct reader r;
	bool applies;
	*out = value_null();
	bool ok = read_geometry(ctx, function_arg(args, n, 0), false, &r, &text, &applies, err);
	if (ok && applies && slice_starts(buf_slice(&text), SLICE("POINT")))
		*out = value_real(want_y ? r.y : r.x);
	buf_free(&text);
	return ok;
}

bool function_st_x(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	return point_coordinate(ctx, args, n, false, out, err);
}

bool function_st_y(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	return point_coordinate(ctx, args, n, true, out, err);
}
