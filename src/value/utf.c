/* utf.c: UTF-8 and its UTF-16 view. */
#include "value/utf.h"

#include <string.h>

static bool continues(const char *p, const char *end, size_t n)
{
	if ((size_t)(end - p) <= n)
		return false;
	for (size_t i = 1; i <= n; i++)
		if (((uint8_t)p[i] & 0xc0) != 0x80)
			return false;
	return true;
}

size_t utf8_decode(const char *p, const char *end, uint32_t *code)
{
	const uint8_t *b = (const uint8_t *)p;
	if (b[0] < 0x80) {
		*code = b[0];
		return 1;
	}
	if (b[0] >= 0xc2 && b[0] < 0xe0 && continues(p, end, 1)) {
		*code = (uint32_t)(b[0] & 0x1f) << 6 | (b[1] & 0x3f);
		return 2;
	}
	if (b[0] >= 0xe0 && b[0] < 0xf0 && continues(p, end, 2)) {
		*code = (uint32_t)(b[0] & 0x0f) << 12 | (uint32_t)(b[1] & 0x3f) << 6 | (b[2] & 0x3f);
		if (*code >= 0x800)
			return 3;
	} else if (b[0] >= 0xf0 && b[0] < 0xf5 && continues(p, end, 3)) {
		*code = (uint32_t)(b[0] & 0x07) << 18 | (uint32_t)(b[1] & 0x3f) << 12 | (uint32_t)(b[2] & 0x3f) << 6 |
		        (b[3] & 0x3f);
		if (*code >= 0x10000 && *code < 0x110000)
			return 4;
	}
	*code = 0xfffd;
	return 1;
}

size_t utf8_encode(char *p, uint32_t code)
{
	if (code < 0x80) {
		p[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		p[0] = (char)(0xc0 | code >> 6);
		p[1] = (char)(0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000) {
		p[0] = (char)(0xe0 | code >> 12);
		p[1] = (char)(0x80 | (code >> 6 & 0x3f));
		p[2] = (char)(0x80 | (code & 0x3f));
		return 3;
	}
	p[0] = (char)(0xf0 | code >> 18);
	p[1] = (char)(0x80 | (code >> 12 & 0x3f));
	p[2] = (char)(0x80 | (code >> 6 & 0x3f));
	p[3] = (char)(0x80 | (code & 0x3f));
	return 4;
}

size_t utf16_length(struct slice s)
{
	size_t n = 0;
	const char *p = s.p, *end = s.p + s.n;
	while (p < end) {
		if ((uint8_t)*p < 0x80) {
			n++;
			p++;
			continue;
		}
		uint32_t code;
		p += utf8_decode(p, end, &code);
		n += code >= 0x10000 ? 2 : 1;
	}
	return n;
}

/* One code unit after the other. */
struct units {
	const char *p, *end;
	uint16_t low; /* second half of the pair whose first half was given out; 0: none */
};

static bool next_unit(struct units *u, uint16_t *unit)
{
	if (u->low) {
		*unit = u->low;
		u->low = 0;
		return true;
	}
	if (u->p >= u->end)
		return false;
	uint32_t code;
	u->p += utf8_decode(u->p, u->end, &code);
	if (code >= 0x10000) {
		*unit = (uint16_t)(0xd800 + ((code - 0x10000) >> 10));
		u->low = (uint16_t)(0xdc00 + (code & 0x3ff));
	} else {
		*unit = (uint16_t)code;
	}
	return true;
}

static int compare_units(struct units a, struct units b)
{
	for (;;) {
		uint16_t x, y;
		bool more_a = next_unit(&a, &x), more_b = next_unit(&b, &y);
		if (!more_a || !more_b)
			return (int)more_a - (int)more_b;
		if (x != y)
			return x < y ? -1 : 1;
	}
}

/* Bytes decide, except where a character beyond U+FFFF meets one from U+D800 to U+FFFF. */
int utf16_compare(struct slice a, struct slice b)
{
	size_t n = a.n < b.n ? a.n : b.n, i = 0;
	while (i + 8 <= n && memcmp(a.p + i, b.p + i, 8) == 0)
		i += 8;
	while (i < n && a.p[i] == b.p[i])
		i++;
	if (i == n)
		return a.n < b.n ? -1 : a.n > b.n;
	size_t start = i;
	while (start > 0 && i - start < 3 && ((uint8_t)a.p[start] & 0xc0) == 0x80)
		start--;
	uint8_t x = (uint8_t)a.p[start], y = (uint8_t)b.p[start];
	if (x < 0xed || y < 0xed)
		return (uint8_t)a.p[i] < (uint8_t)b.p[i] ? -1 : 1;
	return compare_units((struct units){a.p + start, a.p + a.n, 0}, (struct units){b.p + start, b.p + b.n, 0});
}

/* The position of unit number `at`, counted from p: the byte where it starts; *half: it is the second half of the pair there. */
static const char *find_unit(const char *p, const char *end, size_t at, bool *half)
{
	*half = false;
	while (at > 0 && p < end) {
		uint32_t code;
		size_t n = utf8_decode(p, end, &code);
		if (code >= 0x10000 && at == 1) {
			*half = true;
			return p;
		}
		at -= code >= 0x10000 ? 2 : 1;
		p += n;
	}
	return p;
}

struct slice utf16_substring(struct slice s, size_t from, size_t to, struct arena *arena)
{
	const char *end = s.p + s.n;
	bool half_start, half_end;
	if (to <= from)
		return slice_make(s.p, 0);
	const char *a = find_unit(s.p, end, from, &half_start);
	const char *b = half_start ? find_unit(a, end, to - from + 1, &half_end) : find_unit(a, end, to - from, &half_end);
	if (!half_start && !half_end)
		return slice_make(a, (size_t)(b - a));
	char *p = arena_bytes(arena, (size_t)(b - a) + 6);
	size_t n = 0;
	uint32_t code;
	if (half_start) {
		a += utf8_decode(a, end, &code);
		n = utf8_encode(p, 0xdc00 + (code & 0x3ff));
	}
	if (b > a) {
		memcpy(p + n, a, (size_t)(b - a));
		n += (size_t)(b - a);
	}
	if (half_end) {
		utf8_decode(b, end, &code);
		n += utf8_encode(p + n, 0xd800 + ((code - 0x10000) >> 10));
	}
	return slice_make(p, n);
}

struct slice utf8_join(struct slice a, struct slice b, struct arena *arena)
{
	char *p = arena_bytes(arena, a.n + b.n);
	uint32_t high = 0, low = 0;
	if (a.n >= 3 && (uint8_t)a.p[a.n - 3] == 0xed && b.n >= 3 && (uint8_t)b.p[0] == 0xed) {
		utf8_decode(a.p + a.n - 3, a.p + a.n, &high);
		utf8_decode(b.p, b.p + b.n, &low);
	}
	if (a.n)
		memcpy(p, a.p, a.n);
	if (high >= 0xd800 && high < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
		size_t n = a.n - 3 + utf8_encode(p + a.n - 3, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
		memcpy(p + n, b.p + 3, b.n - 3);
		return slice_make(p, n + b.n - 3);
	}
	if (b.n)
		memcpy(p + a.n, b.p, b.n);
	return slice_make(p, a.n + b.n);
}

/* Length of the well-formed sequence at p; if there is none, 0 and *skip is the length of the maximal subpart. */
static size_t strict_sequence(const uint8_t *p, const uint8_t *end, size_t *skip)
{
	size_t want = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	uint8_t low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80, high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
	for (*skip = 1; *skip < want; (*skip)++) {
		if (p + *skip >= end || p[*skip] < low || p[*skip] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return want;
}

struct slice utf8_from_bytes(struct slice bytes, struct arena *arena)
{
	if (slice_starts(bytes, SLICE("\xef\xbb\xbf")))
		bytes = slice_drop(bytes, 3);
	const uint8_t *p = (const uint8_t *)bytes.p, *end = p + bytes.n;
	size_t skip, bad = 0;
	for (const uint8_t *q = p; q < end; q += skip)
		bad += strict_sequence(q, end, &skip) == 0;
	if (!bad)
		return bytes;
	char *out = arena_bytes(arena, bytes.n + 2 * bad);
	size_t n = 0;
	for (; p < end; p += skip) {
		size_t good = strict_sequence(p, end, &skip);
		memcpy(out + n, good ? (const char *)p : "\xef\xbf\xbd", good ? good : 3);
		n += good ? good : 3;
	}
	return slice_make(out, n);
}

size_t utf8_space(const char *p, const char *end)
{
	if (p >= end)
		return 0;
	if (*p == ' ' || (*p >= '\t' && *p <= '\r'))
		return 1;
	if ((uint8_t)*p < 0x80)
		return 0;
	uint32_t code;
	size_t n = utf8_decode(p, end, &code);
	bool space = code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
	             code == 0x202f || code == 0x205f || code == 0x3000 || code == 0xfeff;
	return space ? n : 0;
}

struct slice utf8_skip_space(struct slice s)
{
	size_t n;
	while ((n = utf8_space(s.p, s.p + s.n)) > 0)
		s = slice_drop(s, n);
	return s;
}
