/* json_read.c: strict JSON reader, sync-config 12.1. */
#include "value/json.h"

#include <stdlib.h>
#include <string.h>

#include "value/real.h"
#include "value/utf.h"

/* Up to here repeated keys are found by comparing all pairs. */
#define FEW_MEMBERS 12

struct reader {
	const char *p, *end, *start;
	enum json_numbers numbers;
	struct arena *arena;
	size_t depth;
	struct error *err;
};

static bool read_node(struct reader *r, struct json_node *out);

static bool fail(struct reader *r, const char *what)
{
	return error_set(r->err, "", "invalid JSON at byte %zu: %s", (size_t)(r->p - r->start), what);
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
		r->p++;
}

static bool take(struct reader *r, char c)
{
	if (r->p >= r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

/* ---- strings ----------------------------------------------------------------------------------------------------------- */

static bool read_hex4(struct reader *r, uint32_t *code)
{
	*code = 0;
	if (r->end - r->p < 4)
		return fail(r, "bad \\u escape");
	for (int i = 0; i < 4; i++) {
		char c = *r->p++, lower = (char)(c | 0x20);
		if (c >= '0' && c <= '9')
			*code = *code << 4 | (uint32_t)(c - '0');
		else if (lower >= 'a' && lower <= 'f')
			*code = *code << 4 | (uint32_t)(lower - 'a' + 10);
		else
			return fail(r, "bad \\u escape");
	}
	return true;
}

/* A low half behind a high one makes one character of both. */
static size_t put_code(char *out, size_t n, uint32_t code)
{
	if (code >= 0xdc00 && code < 0xe000 && n >= 3 && (uint8_t)out[n - 3] == 0xed && ((uint8_t)out[n - 2] & 0xf0) == 0xa0) {
		uint32_t high = 0xd000u | ((uint8_t)out[n - 2] & 0x3fu) << 6 | ((uint8_t)out[n - 1] & 0x3fu);
		return n - 3 + utf8_encode(out + n - 3, 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00));
	}
	return n + utf8_encode(out + n, code);
}

static bool read_escape(struct reader *r, char *out, size_t *n)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (r->p >= r->end)
		return fail(r, "unterminated string");
	char c = *r->p++;
	if (c == 'u') {
		uint32_t code;
		if (!read_hex4(r, &code))
			return false;
		*n = put_code(out, *n, code);
		return true;
	}
	const char *at = c ? strchr(from, c) : NULL;
	if (!at)
		return fail(r, "bad escape");
	out[(*n)++] = to[at - from];
	return true;
}

/* The rest of a string that has escapes: start is its first byte, r->p stands on the first backslash. */
static bool read_escaped(struct reader *r, const char *start, struct slice *out)
{
	/* No escape is longer than what it stands for, so the end of the raw string bounds the room. */
	const char *q = r->p;
	while (q < r->end && *q != '"')
		q += *q == '\\' ? 2 : 1;
	if (q >= r->end)
		return fail(r, "unterminated string");
	char *text = arena_bytes(r->arena, (size_t)(q - start));
	size_t n = (size_t)(r->p - start);
	memcpy(text, start, n);
	for (;;) {
		uint8_t c = (uint8_t)*r->p;
		if (c < 0x20)
			return fail(r, "control character in a string");
		r->p++;
		if (c == '"')
			break;
		if (c != '\\')
			text[n++] = (char)c;
		else if (!read_escape(r, text, &n))
			return false;
	}
	*out = slice_make(text, n);
	return true;
}

/* r->p stands behind the opening quote. */
static bool read_string(struct reader *r, struct slice *out)
{
	const char *start = r->p;
	while (r->p < r->end && *r->p != '"' && *r->p != '\\' && (uint8_t)*r->p >= 0x20)
		r->p++;
	if (r->p >= r->end)
		return fail(r, "unterminated string");
	if (*r->p == '\\')
		return read_escaped(r, start, out);
	if (*r->p != '"')
		return fail(r, "control character in a string");
	*out = slice_make(start, (size_t)(r->p - start));
	r->p++;
	return true;
}

/* ---- numbers ----------------------------------------------------------------------------------------------------------- */

static size_t skip_digits(struct reader *r)
{
	const char *start = r->p;
	while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
		r->p++;
	return (size_t)(r->p - start);
}

static bool read_number(struct reader *r, struct json_node *out)
{
	const char *start = r->p;
	bool integer = true;
	take(r, '-');
	bool zero = r->p < r->end && *r->p == '0';
	size_t digits = skip_digits(r);
	if (digits == 0 || (zero && digits > 1))
		return fail(r, "unexpected character");
	if (take(r, '.')) {
		integer = false;
		if (!skip_digits(r))
			return fail(r, "bad number");
	}
	if (take(r, 'e') || take(r, 'E')) {
		integer = false;
		if (!take(r, '+'))
			take(r, '-');
		if (!skip_digits(r))
			return fail(r, "bad number");
	}
	struct slice text = slice_make(start, (size_t)(r->p - start));
	if (!integer || r->numbers == JSON_DOUBLES) {
		out->kind = JSON_KIND_REAL;
		out->r = real_parse(text);
	} else if (slice_parse_i64(text, &out->i)) {
		out->kind = JSON_KIND_INTEGER;
	} else {
		out->kind = JSON_KIND_BIG_INTEGER;
		out->s = text;
	}
	return true;
}

/* ---- objects ----------------------------------------------------------------------------------------------------------- */

struct sorted_key {
	struct slice key;
	size_t at;
};

static int compare_keys(const void *a, const void *b)
{
	const struct sorted_key *x = a, *y = b;
	int c = slice_cmp(x->key, y->key);
	return c ? c : x->at < y->at ? -1 : x->at > y->at;
}

/* Folds a later member into an earlier one of the same key. */
static bool fold(struct reader *r, struct json_member *first, struct json_member *again)
{
	if (r->numbers == JSON_EXACT && !json_same(&first->value, &again->value))
		return fail(r, "a key is repeated with another value");
	first->value = again->value;
	again->key.p = NULL; /* gone */
	return true;
}

static bool fold_by_sorting(struct reader *r, struct json_member *members, size_t count)
{
	struct sorted_key *keys = arena_array(r->arena, struct sorted_key, count);
	for (size_t i = 0; i < count; i++)
		keys[i] = (struct sorted_key){members[i].key, i};
	qsort(keys, count, sizeof(*keys), compare_keys);
	for (size_t i = 0, first = 0; i < count; i++) {
		if (i == first || !slice_eq(keys[i].key, keys[first].key))
			first = i;
		else if (!fold(r, &members[keys[first].at], &members[keys[i].at]))
			return false;
	}
	return true;
}

static bool fold_repeated(struct reader *r, struct json_member *members, size_t *count)
{
	if (*count > FEW_MEMBERS) {
		if (!fold_by_sorting(r, members, *count))
			return false;
	} else {
		for (size_t i = 1; i < *count; i++) {
			size_t k = 0;
			while (k < i && (!members[k].key.p || !slice_eq(members[k].key, members[i].key)))
				k++;
			if (k < i && !fold(r, &members[k], &members[i]))
				return false;
		}
	}
	size_t kept = 0;
	for (size_t i = 0; i < *count; i++)
		if (members[i].key.p)
			members[kept++] = members[i];
	*count = kept;
	return true;
}

/* Canonical array index: 0 to 4294967294 without leading zeros. */
static bool is_index(struct slice key, uint64_t *index)
{
	if (key.n == 0 || key.n > 10 || (key.p[0] == '0' && key.n > 1))
		return false;
	return slice_parse_u64(key, 4294967294u, index);
}

static int compare_indexes(const void *a, const void *b)
{
	const struct json_member *x = a, *y = b;
	uint64_t i = 0, k = 0;
	slice_parse_u64(x->key, UINT64_MAX, &i);
	slice_parse_u64(y->key, UINT64_MAX, &k);
	return i < k ? -1 : i > k;
}

/* Index-like keys come first, ascending. */
static void order_members(struct reader *r, struct json_node *object)
{
	struct json_member *members = object->object.members;
	size_t count = object->object.count, indexes = 0;
	uint64_t index;
	for (size_t i = 0; i < count; i++)
		indexes += is_index(members[i].key, &index);
	if (!indexes)
		return;
	struct json_member *ordered = arena_array(r->arena, struct json_member, count);
	size_t at_index = 0, at_rest = indexes;
	for (size_t i = 0; i < count; i++)
		ordered[is_index(members[i].key, &index) ? at_index++ : at_rest++] = members[i];
	qsort(ordered, indexes, sizeof(*ordered), compare_indexes);
	object->object.members = ordered;
}

static bool read_member(struct reader *r, struct json_member *member)
{
	skip_blanks(r);
	if (!take(r, '"'))
		return fail(r, "a key was expected");
	if (!read_string(r, &member->key))
		return false;
	skip_blanks(r);
	if (!take(r, ':'))
		return fail(r, "':' was expected");
	return read_node(r, &member->value);
}

static bool read_object(struct reader *r, struct json_node *out)
{
	struct json_member *members = NULL;
	size_t count = 0;
	skip_blanks(r);
	*out = (struct json_node){.kind = JSON_KIND_OBJECT};
	if (take(r, '}'))
		return true;
	do {
		members = arena_grow_list(r->arena, members, count, sizeof(*members));
		if (!read_member(r, &members[count]))
			return false;
		count++;
		skip_blanks(r);
	} while (take(r, ','));
	if (!take(r, '}'))
		return fail(r, "',' or '}' was expected");
	if (!fold_repeated(r, members, &count))
		return false;
	out->object.members = members;
	out->object.count = count;
	order_members(r, out);
	return true;
}

/* ---- everything -------------------------------------------------------------------------------------------------------- */

static bool read_array(struct reader *r, struct json_node *out)
{
	struct json_node *items = NULL;
	size_t count = 0;
	skip_blanks(r);
	*out = (struct json_node){.kind = JSON_KIND_ARRAY};
	if (take(r, ']'))
		return true;
	do {
		items = arena_grow_list(r->arena, items, count, sizeof(*items));
		if (!read_node(r, &items[count]))
			return false;
		count++;
		skip_blanks(r);
	} while (take(r, ','));
	if (!take(r, ']'))
		return fail(r, "',' or ']' was expected");
	out->array.items = items;
	out->array.count = count;
	return true;
}

static bool read_word(struct reader *r, struct slice word)
{
	if (!slice_starts(slice_make(r->p, (size_t)(r->end - r->p)), word))
		return fail(r, "unexpected character");
	r->p += word.n;
	return true;
}

static bool read_nested(struct reader *r, struct json_node *out)
{
	if (++r->depth > JSON_MAX_DEPTH)
		return fail(r, "nested too deeply");
	bool ok = *r->p++ == '[' ? read_array(r, out) : read_object(r, out);
	r->depth--;
	return ok;
}

static bool read_node(struct reader *r, struct json_node *out)
{
	skip_blanks(r);
	if (r->p >= r->end)
		return fail(r, "unexpected end");
	switch (*r->p) {
	case '[':
	case '{':
		return read_nested(r, out);
	case '"':
		r->p++;
		out->kind = JSON_KIND_STRING;
		return read_string(r, &out->s);
	case 't':
		*out = (struct json_node){.kind = JSON_KIND_BOOLEAN, .b = true};
		return read_word(r, SLICE("true"));
	case 'f':
		*out = (struct json_node){.kind = JSON_KIND_BOOLEAN, .b = false};
		return read_word(r, SLICE("false"));
	case 'n':
		*out = (struct json_node){.kind = JSON_KIND_NULL};
		return read_word(r, SLICE("null"));
	default:
		return read_number(r, out);
	}
}

bool json_read(struct slice text, enum json_numbers numbers, struct arena *arena, struct json_node *out, struct error *err)
{
	struct reader r = {text.p, text.p + text.n, text.p, numbers, arena, 0, err};
	if (!read_node(&r, out))
		return false;
	skip_blanks(&r);
	return r.p == r.end || fail(&r, "something follows the value");
}
