/* base64url.c: decoding of token parts and key members. */
#include "auth/base64url.h"

static inline int digit(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

bool base64url_decode(struct slice text, struct arena *arena, struct slice *out)
{
	for (int i = 0; i < 2 && text.n && text.p[text.n - 1] == '='; i++)
		text.n--;
	if (text.n % 4 == 1)
		return false;
	char *bytes = arena_bytes(arena, text.n / 4 * 3 + 3);
	size_t n = 0;
	uint32_t bits = 0;
	unsigned have = 0;
	for (size_t i = 0; i < text.n; i++) {
		int d = digit((unsigned char)text.p[i]);
		if (d < 0)
			return false;
		bits = bits << 6 | (uint32_t)d;
		have += 6;
		if (have >= 8) {
			have -= 8;
			bytes[n++] = (char)(bits >> have);
		}
	}
	*out = slice_make(bytes, n);
	return true;
}
