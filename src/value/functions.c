/* functions.c: the table of SQL functions, and those on text and values in general (sync-config 11.1). */
#define _GNU_SOURCE /* memmem */
#include "value/functions.h"

#include <string.h>

#include "base/base64.h"
#include "value/cast.h"
#include "value/function_groups.h"
#include "value/text_case.h"
#include "value/utf.h"

/* The parameters that every function has. */
#define FUNCTION(name)                                                                                                           \
	static bool name(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)

FUNCTION(call_upper)
{
	(void)err;
	const struct value *x = function_arg(args, n, 0);
	*out = value_is_null(x) ? value_null() : value_text(text_upper(value_text_form(x, ctx->arena), ctx->arena));
	return true;
}

FUNCTION(call_lower)
{
	(void)err;
	const struct value *x = function_arg(args, n, 0);
	*out = value_is_null(x) ? value_null() : value_text(text_lower(value_text_form(x, ctx->arena), ctx->arena));
	return true;
}

/* Blobs in bytes, everything else in UTF-16 units of its text form. */
FUNCTION(call_length)
{
	(void)err;
	const struct value *x = function_arg(args, n, 0);
	if (value_is_null(x))
		*out = value_null();
	else if (x->kind == VALUE_BLOB)
		*out = value_integer((int64_t)x->s.n);
	else
		*out = value_integer((int64_t)utf16_length(value_text_form(x, ctx->arena)));
	return true;
}

/* Positions may be anything an INTEGER can be, so the sums need more than 64 bits. */
static struct slice cut(struct slice s, int64_t start, bool has_length, int64_t length, struct arena *arena)
{
	__int128 n = (__int128)utf16_length(s), count = has_length ? length : n + 1, from;
	if (start < 0) {
		from = n + start > 0 ? n + start : 0;
	} else if (start == 0) {
		from = 0;
		count--;
	} else {
		from = start - 1;
	}
	__int128 to = from + count;
	if (count < 0) {
		to = from;
		from = from + count > 0 ? from + count : 0;
	}
	if (from > to) {
		__int128 swap = from;
		from = to;
		to = swap;
	}
	from = from < 0 ? 0 : from > n ? n : from;
	to = to < 0 ? 0 : to > n ? n : to;
	return utf16_substring(s, (size_t)from, (size_t)to, arena);
}

FUNCTION(call_substring)
{
	const struct value *s = function_arg(args, n, 0), *start = function_arg(args, n, 1);
	bool has_length = n > 2 && args[2].kind != VALUE_ABSENT;
	struct value from, length = value_integer(0);
	*out = value_null();
	if (value_is_null(s) || value_is_null(start) || (has_length && value_is_null(&args[2])))
		return true;
	if (!value_cast(start, CAST_INTEGER, ctx->arena, &from, err))
		return error_prefix(err, "substring: ");
	if (has_length && !value_cast(&args[2], CAST_INTEGER, ctx->arena, &length, err))
		return error_prefix(err, "substring: ");
	*out = value_text(cut(value_text_form(s, ctx->arena), from.i, has_length, length.i, ctx->arena));
	return true;
}

FUNCTION(call_instr)
{
	(void)err;
	const struct value *x = function_arg(args, n, 0), *y = function_arg(args, n, 1);
	*out = value_null();
	if (value_is_null(x) || value_is_null(y))
		return true;
	bool bytes = x->kind == VALUE_BLOB && y->kind == VALUE_BLOB;
	struct slice in = bytes ? x->s : value_text_form(x, ctx->arena), what = bytes ? y->s : value_text_form(y, ctx->arena);
	const char *at = what.n == 0 ? in.p : in.n ? memmem(in.p, in.n, what.p, what.n) : NULL;
	*out = value_integer(0);
	if (what.n == 0)
		out->i = 1;
	else if (at)
		out->i = 1 + (int64_t)(bytes ? (size_t)(at - in.p) : utf16_length(slice_make(in.p, (size_t)(at - in.p))));
	return true;
}

/* The bytes of the blob cast; NULL gives none. */
static struct slice blob_bytes(const struct value *x, struct arena *arena)
{
	return x->kind == VALUE_BLOB ? x->s : value_text_form(x, arena);
}

FUNCTION(call_hex)
{
	(void)err;
	static const char digits[] = "0123456789ABCDEF";
	struct slice bytes = blob_bytes(function_arg(args, n, 0), ctx->arena);
	char *p = arena_bytes(ctx->arena, 2 * bytes.n);
	for (size_t i = 0; i < bytes.n; i++) {
		p[2 * i] = digits[(uint8_t)bytes.p[i] >> 4];
		p[2 * i + 1] = digits[(uint8_t)bytes.p[i] & 15];
	}
	*out = value_text(slice_make(p, 2 * bytes.n));
	return true;
}

FUNCTION(call_base64)
{
	(void)err;
	struct slice bytes = blob_bytes(function_arg(args, n, 0), ctx->arena);
	struct buf text = {0};
	base64_encode(&text, bytes.p, bytes.n, BASE64_PLAIN);
	*out = value_text(text.n ? arena_copy(ctx->arena, buf_slice(&text)) : SLICE(""));
	buf_free(&text);
	return true;
}

/* 16 bytes, or false: not the hyphenated form. */
static bool read_uuid(struct slice s, uint8_t out[16])
{
	size_t n = 0;
	if (s.n != 36)
		return false;
	for (size_t i = 0; i < 36; i++) {
		char c = s.p[i], lower = (char)(c | 0x20);
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			if (c != '-')
				return false;
			continue;
		}
		int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
		if (digit < 0)
			return false;
		out[n / 2] = (uint8_t)(n % 2 ? out[n / 2] | digit : digit << 4);
		n++;
	}
	return true;
}

static bool is_filled(const uint8_t bytes[16], uint8_t with)
{
	for (size_t i = 0; i < 16; i++)
		if (bytes[i] != with)
			return false;
	return true;
}

/* Versions 1 to 8 with the RFC variant, and the nil and max UUIDs. */
FUNCTION(call_uuid_blob)
{
	const struct value *x = function_arg(args, n, 0);
	*out = value_null();
	if (value_is_null(x))
		return true;
	uint8_t *bytes = arena_alloc(ctx->arena, 16);
	if (!read_uuid(value_text_form(x, ctx->arena), bytes))
		return error_set(err, "", "uuid_blob: not a UUID");
	uint8_t version = bytes[6] >> 4, variant = bytes[8] >> 6;
	if ((version < 1 || version > 8 || variant != 2) && !is_filled(bytes, 0) && !is_filled(bytes, 0xff))
		return error_set(err, "", "uuid_blob: not a UUID");
	*out = value_blob(slice_make(bytes, 16));
	return true;
}

FUNCTION(call_typeof)
{
	(void)ctx;
	(void)err;
	static const struct slice names[] = {
	        [VALUE_ABSENT] = SLICE_INIT("null"),     [VALUE_UNKNOWN] = SLICE_INIT("null"), [VALUE_NULL] = SLICE_INIT("null"),
	        [VALUE_INTEGER] = SLICE_INIT("integer"), [VALUE_REAL] = SLICE_INIT("real"),    [VALUE_TEXT] = SLICE_INIT("text"),
	        [VALUE_BLOB] = SLICE_INIT("blob"),
	};
	*out = value_text(names[function_arg(args, n, 0)->kind]);
	return true;
}

/* The chosen argument is handed on as it is, absent or missing ones as absent (11.1). */
static struct value as_given(const struct value *args, size_t n, size_t i)
{
	return i < n ? args[i] : (struct value){.kind = VALUE_ABSENT};
}

FUNCTION(call_ifnull)
{
	(void)ctx;
	(void)err;
	*out = as_given(args, n, value_is_null(function_arg(args, n, 0)) ? 1 : 0);
	return true;
}

FUNCTION(call_iif)
{
	(void)ctx;
	(void)err;
	*out = as_given(args, n, value_truth(function_arg(args, n, 0)) ? 1 : 2);
	return true;
}

#define ANY SQL_FUNCTION_ANY_COUNT

static const struct sql_function functions[] = {
        {SLICE_INIT("base64"), 1, 1, true, 1, call_base64},
        {SLICE_INIT("datetime"), 1, ANY, true, 1, function_datetime},
        {SLICE_INIT("hex"), 1, 1, true, 1, call_hex},
        {SLICE_INIT("ifnull"), 2, ANY, true, 1, call_ifnull},
        {SLICE_INIT("iif"), 3, 3, true, 1, call_iif},
        {SLICE_INIT("instr"), 2, 2, true, 1, call_instr},
        {SLICE_INIT("json_array_length"), 1, 2, true, 1, function_json_array_length},
        {SLICE_INIT("json_extract"), 2, ANY, true, 1, function_json_extract},
        {SLICE_INIT("json_keys"), 1, 1, true, 1, function_json_keys},
        {SLICE_INIT("json_valid"), 1, 1, false, 1, function_json_valid},
        {SLICE_INIT("length"), 1, 1, true, 1, call_length},
        {SLICE_INIT("lower"), 1, 1, true, 1, call_lower},
        {SLICE_INIT("st_asgeojson"), 1, 1, true, 1, function_st_asgeojson},
        {SLICE_INIT("st_astext"), 1, 1, true, 1, function_st_astext},
        {SLICE_INIT("st_x"), 1, 1, true, 1, function_st_x},
        {SLICE_INIT("st_y"), 1, 1, true, 1, function_st_y},
        {SLICE_INIT("substring"), 2, 3, true, 1, call_substring},
        {SLICE_INIT("typeof"), 1, 1, true, 1, call_typeof},
        {SLICE_INIT("unixepoch"), 1, ANY, true, 1, function_unixepoch},
        {SLICE_INIT("upper"), 1, 1, true, 1, call_upper},
        {SLICE_INIT("uuid_blob"), 1, 1, true, 1, call_uuid_blob},
};

/* Called when a query is compiled, not when it runs. */
const struct sql_function *sql_function_find(struct slice name)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (slice_eq(functions[i].name, name))
			return &functions[i];
	return NULL;
}
