/* utf8.c: making bytes from outside valid UTF-8, as the Encoding standard's decoder does. */
#include "base/utf8.h"

size_t utf8_sequence(const char *text, size_t n, size_t *bad)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t want = p[0] < 0x80                    ? 1
	              : p[0] >= 0xC2 && p[0] <= 0xDF ? 2
	              : (p[0] & 0xF0) == 0xE0        ? 3
	              : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
	                                             : 0;
	*bad = 1;
	if (want < 2)
		return want;
	unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
	unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
	for (size_t i = 1; i < want; i++, low = 0x80, high = 0xBF) {
		if (i == n || p[i] < low || p[i] > high) {
			*bad = i;
			return 0;
		}
	}
	return want;
}

/* How much of the text is valid. */
static size_t valid_part(struct slice s)
{
	size_t bad, i = 0;
	while (i < s.n) {
		size_t n = utf8_sequence(s.p + i, s.n - i, &bad);
		if (n == 0)
			break;
		i += n;
	}
	return i;
}

bool utf8_valid(struct slice s)
{
	return valid_part(s) == s.n;
}

struct slice utf8_mend(struct slice s, struct arena *arena)
{
	size_t bad, i = valid_part(s);
	if (i == s.n)
		return s;
	char *out = arena_bytes(arena, s.n * 3);
	memcpy(out, s.p, i);
	size_t m = i;
	while (i < s.n) {
		size_t n = utf8_sequence(s.p + i, s.n - i, &bad);
		memcpy(out + m, n ? s.p + i : "\xEF\xBF\xBD", n ? n : 3);
		m += n ? n : 3;
		i += n ? n : bad;
	}
	return slice_make(out, m);
}

struct slice utf8_shown(struct slice s, size_t max, struct arena *arena)
{
	if (s.n > max) {
		s.n = max;
		while (s.n && ((unsigned char)s.p[s.n] & 0xC0) == 0x80)
			s.n--;
	}
	char *out = arena_bytes(arena, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		out[i] = (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7F ? ' ' : s.p[i];
	return slice_make(out, s.n);
}
