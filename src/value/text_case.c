/* text_case.c: case mapping by generated tables; ASCII goes its own way. */
#include "value/text_case.h"

#include <stdbool.h>

#include "base/buf.h"
#include "value/case_tables.h"
#include "value/utf.h"

#define CAPITAL_SIGMA 0x3a3
#define SMALL_SIGMA 0x3c3
#define FINAL_SIGMA 0x3c2

struct mapping {
	const struct case_range *ranges;
	size_t range_count;
	const struct case_special *specials;
	size_t special_count;
};

static bool has_property(const struct case_property *table, size_t count, uint32_t code)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (table[middle].last < code)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && table[low].first <= code;
}

/* Writes what code maps to into to[], answers how many code points. */
static size_t map(const struct mapping *m, uint32_t code, uint32_t to[3])
{
	size_t low = 0, high = m->special_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (m->specials[middle].code < code)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < m->special_count && m->specials[low].code == code) {
		size_t n = 0;
		while (n < 3 && m->specials[low].to[n]) {
			to[n] = m->specials[low].to[n];
			n++;
		}
		return n;
	}
	low = 0;
	high = m->range_count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (m->ranges[middle].last < code)
			low = middle + 1;
		else
			high = middle;
	}
	to[0] = code;
	if (low < m->range_count && m->ranges[low].first <= code && (code - m->ranges[low].first) % m->ranges[low].step == 0)
		to[0] = (uint32_t)((int32_t)code + m->ranges[low].delta);
	return 1;
}

/* A cased letter stands before p, with nothing but case-ignorable characters between. */
static bool cased_before(struct slice s, const char *p)
{
	while (p > s.p) {
		uint32_t code;
		do
			p--;
		while (p > s.p && ((uint8_t)*p & 0xc0) == 0x80);
		utf8_decode(p, s.p + s.n, &code);
		if (!has_property(case_ignorable, case_ignorable_count, code))
			return has_property(case_cased, case_cased_count, code);
	}
	return false;
}

static bool cased_after(struct slice s, const char *p)
{
	while (p < s.p + s.n) {
		uint32_t code;
		p += utf8_decode(p, s.p + s.n, &code);
		if (!has_property(case_ignorable, case_ignorable_count, code))
			return has_property(case_cased, case_cased_count, code);
	}
	return false;
}

static struct slice map_text(struct slice s, const struct mapping *m, char first, bool sigma, struct arena *arena)
{
	struct buf out = {0};
	const char *p = s.p, *end = s.p + s.n;
	buf_reserve(&out, s.n + 1);
	while (p < end) {
		if ((uint8_t)*p < 0x80) {
			buf_putc(&out, *p >= first && *p < first + 26 ? (char)(*p ^ 0x20) : *p);
			p++;
			continue;
		}
		uint32_t code, to[3];
		const char *at = p;
		p += utf8_decode(p, end, &code);
		if (code == 0xfffd && p == at + 1) {
			buf_putc(&out, *at); /* not UTF-8: handed on */
			continue;
		}
		size_t n = map(m, code, to);
		if (sigma && code == CAPITAL_SIGMA)
			to[0] = cased_before(s, at) && !cased_after(s, p) ? FINAL_SIGMA : SMALL_SIGMA;
		for (size_t i = 0; i < n; i++)
			out.n += utf8_encode(buf_reserve(&out, 4), to[i]);
	}
	struct slice result = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return result;
}

struct slice text_upper(struct slice s, struct arena *arena)
{
	const struct mapping m = {case_upper_ranges, case_upper_ranges_count, case_upper_specials, case_upper_specials_count};
	return map_text(s, &m, 'a', false, arena);
}

struct slice text_lower(struct slice s, struct arena *arena)
{
	const struct mapping m = {case_lower_ranges, case_lower_ranges_count, case_lower_specials, case_lower_specials_count};
	return map_text(s, &m, 'A', true, arena);
}
