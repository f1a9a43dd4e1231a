/*
 * json_text.c: text -> JSON string. Every row that is replicated goes through here.
 *
 * Text is looked at in blocks of 16 bytes: a block in which nothing needs an escape is copied as it is. Bytes that stop the copy
 * are the controls below 0x20, the quote, the backslash, and 0xED, which may begin an encoded surrogate half (it also begins the
 * last of the Hangul syllables; those are then copied singly).
 */
#include "value/value.h"

#include <string.h>

/* At least this much room beyond what is left of the text: a whole block may be stored, of which only a part counts. */
#define SLACK 32

/* ---- scanning: the only part that depends on the machine --------------------------------------------------------------- */

#ifdef __SSE2__
#include <emmintrin.h>

#define BLOCK 16

/* Stores a block and answers which of its bytes stop the copy, one bit each. */
static inline unsigned copy_block(char *to, const char *from)
{
	__m128i x = _mm_loadu_si128((const __m128i *)from);
	_mm_storeu_si128((__m128i *)to, x);
	__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
	__m128i special = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
	__m128i surrogate = _mm_cmpeq_epi8(x, _mm_set1_epi8((char)0xed));
	return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(control, special), surrogate));
}
#else
#define BLOCK 8

/* The same on a word. A byte may be reported that stands above one that does stop the copy; the lowest bit is exact. */
static inline unsigned copy_block(char *to, const char *from)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	uint64_t x;
	memcpy(&x, from, 8);
	memcpy(to, &x, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	uint64_t quote = x ^ ones * '"', backslash = x ^ ones * '\\', surrogate = x ^ ones * 0xed;
	uint64_t hit = ((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
	               ((surrogate - ones) & ~surrogate);
	hit &= tops;
	return hit ? 1u << (__builtin_ctzll(hit) / 8) : 0;
}
#endif

/* ---- escaping ---------------------------------------------------------------------------------------------------------- */

static bool stops_copy(char c)
{
	return (uint8_t)c < 0x20 || c == '"' || c == '\\' || (uint8_t)c == 0xed;
}

static bool is_surrogate(const char *p, const char *end)
{
	return end - p >= 3 && (uint8_t)p[0] == 0xed && ((uint8_t)p[1] & 0xe0) == 0xa0 && ((uint8_t)p[2] & 0xc0) == 0x80;
}

static char *put_code(char *to, unsigned code)
{
	static const char hex[] = "0123456789abcdef";
	memcpy(to, "\\u", 2);
	to[2] = hex[code >> 12];
	to[3] = hex[code >> 8 & 15];
	to[4] = hex[code >> 4 & 15];
	to[5] = hex[code & 15];
	return to + 6;
}

/* Writes the byte that stopped the copy (or the surrogate half) at to, at most 6 bytes; moves *from behind it. */
static char *put_special(char *to, const char **from, const char *end)
{
	const char *p = *from;
	char c = *p;
	if (is_surrogate(p, end)) {
		*from += 3;
		return put_code(to, 0xd000u | ((uint8_t)p[1] & 0x3fu) << 6 | ((uint8_t)p[2] & 0x3fu));
	}
	(*from)++;
	if ((uint8_t)c == 0xed) {
		*to = c;
		return to + 1;
	}
	char letter = c == '"' || c == '\\' ? c : c == '\b' ? 'b' : c == '\t' ? 't' : c == '\n' ? 'n' : c == '\f' ? 'f' : c == '\r' ? 'r' : 0;
	if (!letter)
		return put_code(to, (uint8_t)c);
	to[0] = '\\';
	to[1] = letter;
	return to + 2;
}

void json_append_string(struct buf *out, struct slice text)
{
	char *to = buf_reserve(out, text.n + SLACK), *limit = out->p + out->cap;
	const char *from = text.p, *end = text.p + text.n;
	*to++ = '"';
	while (from < end) {
		if (end - from >= BLOCK) {
			unsigned stops = copy_block(to, from);
			size_t clean = stops ? (size_t)__builtin_ctz(stops) : BLOCK;
			from += clean;
			to += clean;
			if (!stops)
				continue;
		} else if (!stops_copy(*from)) {
			*to++ = *from++;
			continue;
		}
		to = put_special(to, &from, end);
		if (limit - to < end - from + SLACK) {
			out->n = (size_t)(to - out->p);
			to = buf_reserve(out, (size_t)(end - from) + SLACK + 64);
			limit = out->p + out->cap;
		}
	}
	*to++ = '"';
	out->n = (size_t)(to - out->p);
}
