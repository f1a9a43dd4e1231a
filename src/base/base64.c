/* base64.c: see base64.h. */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct buf *out, const void *bytes, size_t n, enum base64_form form)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < n; i += 3) {
		size_t left = n - i;
		uint32_t group = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
		for (size_t j = 0; j < 4; j++) {
			char c = digits[group >> (18 - 6 * j) & 63];
			if (j <= left)
				buf_putc(out, form == BASE64_PLAIN ? c : c == '+' ? '-' : c == '/' ? '_' : c);
			else if (form == BASE64_PLAIN)
				buf_putc(out, '=');
		}
	}
}

static inline int digit_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' || c == '+' ? 62 : c == '_' || c == '/' ? 63 : -1;
}

/* False: a character that is no digit, unless they are passed over. */
static bool decode(struct slice text, bool pass_over, char *out, size_t *length)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		int d = digit_value((unsigned char)text.p[i]);
		if (d < 0 && pass_over)
			continue;
		if (d < 0)
			return false;
		bits = bits << 6 | (uint32_t)d;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (char)(bits >> have);
		}
	}
	*length = n;
	return true;
}

bool base64_decode(struct slice text, struct arena *arena, struct slice *out)
{
	for (int i = 0; i < 2 && text.n && text.p[text.n - 1] == '='; i++)
		text.n--;
	if (text.n % 4 == 1)
		return false;
	char *bytes = arena_bytes(arena, text.n / 4 * 3 + 3);
	size_t n;
	if (!decode(text, false, bytes, &n))
		return false;
	*out = slice_make(bytes, n);
	return true;
}

struct slice base64_decode_leniently(struct slice text, struct arena *arena)
{
	const char *end = text.n ? memchr(text.p, '=', text.n) : NULL;
	if (end)
		text.n = (size_t)(end - text.p);
	char *bytes = arena_bytes(arena, text.n / 4 * 3 + 4);
	size_t n = 0;
	decode(text, true, bytes, &n);
	bytes[n] = '\0';
	return slice_make(bytes, n);
}
