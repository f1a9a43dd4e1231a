/* slice.c: parsing of numbers in slices. */
#include "base/slice.h"

bool slice_parse_u64(struct slice s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned d = (unsigned char)s.p[i] - '0';
		if (d > 9 || v > (max - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*out = v;
	return true;
}

bool slice_parse_i64(struct slice s, int64_t *out)
{
	bool negative = s.n && s.p[0] == '-';
	uint64_t v;
	if (!slice_parse_u64(negative ? slice_drop(s, 1) : s, (uint64_t)INT64_MAX + negative, &v))
		return false;
	*out = negative ? (int64_t)(0 - v) : (int64_t)v;
	return true;
}
