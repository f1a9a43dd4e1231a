/* revision.c: was a definition stored by a newer program? Its content names each function and mapping with a revision ("datetime@2"). */
#include "storage/internal.h"

static bool is_digit(struct slice s, size_t i)
{
	return i < s.n && s.p[i] >= '0' && s.p[i] <= '9';
}

static uint64_t number_at(struct slice s, size_t *i)
{
	uint64_t n = 0;
	for (; is_digit(s, *i) && n < UINT32_MAX; ++*i)
		n = n * 10 + (uint64_t)(s.p[*i] - '0');
	return n;
}

static bool ends_name(char c)
{
	return c == ' ' || c == '(' || c == '\n';
}

struct slice revision_unknown(struct slice stored, struct slice compiled)
{
	size_t i = 0, k = 0;
	while (i < stored.n && k < compiled.n) {
		if (stored.p[i] != compiled.p[k])
			break; /* another text altogether: nothing is known of it */
		bool revision = stored.p[i] == '@' && is_digit(stored, i + 1) && is_digit(compiled, k + 1);
		size_t at = i++;
		k++;
		if (!revision)
			continue;
		if (number_at(stored, &i) > number_at(compiled, &k)) {
			size_t from = at;
			while (from && !ends_name(stored.p[from - 1]))
				from--;
			return slice_make(stored.p + from, i - from);
		}
	}
	return (struct slice){NULL, 0};
}
