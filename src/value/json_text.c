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

/* ---- scanning ---------------------------------------------------------------------------------------------------------- */

#define WORD 8

/* Stores a word and answers how many of its bytes, from the first on, may be copied as they are. */
static inline unsigned copy_word(char *to, const char *from)
{
	const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
	uint64_t x;
	memcpy(&x, from, WORD);
	memcpy(to, &x, WORD);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	/* The usual trick for "a byte is zero": bits above the first hit may be wrong, the first is right. */
	uint64_t quote = x ^ ones * '"', backslash = x ^ ones * '\\', surrogate = x ^ ones * 0xed;
	uint64_t hit = ((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
	               ((surrogate - ones) & ~surrogate);
	hit &= tops;
	return hit ? (unsigned)__builtin_ctzll(hit) / 8 : WORD;
}

#ifdef __SSE2__
#include <emmintrin.h>

#define BLOCK 16

/* The same for a block. */
static inline unsigned copy_block(char *to, const char *from)
{
	__m128i x = _mm_loadu_si128((const __m128i *)from);
	_mm_storeu_si128((__m128i *)to, x);
	__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(0x1f)), x);
	__m128i special = _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));
	__m128i surrogate = _mm_cmpeq_epi8(x, _mm_set1_epi8((char)0xed));
	unsigned hit = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(control, special), surrogate));
	return hit ? (unsigned)__builtin_ctz(hit) : BLOCK;
}
#else
#define BLOCK WORD
#define copy_block copy_word
#endif

static bool stops_copy(char c)
{
	return (uint8_t)c < 0x20 || c == '"' || c == '\\' || (uint8_t)c == 0xed;
}

/* Copies text up to the first byte that stops the copy, answers how many bytes that were. What is left behind the last whole block is
 * done with a block that ends where the text ends: it copies some bytes a second time, to where they are already. */
static inline size_t copy_clean(char *to, const char *from, size_t n)
{
	size_t i = 0;
	unsigned clean;
	if (n >= BLOCK) {
		for (; i + BLOCK <= n; i += BLOCK)
			if ((clean = copy_block(to + i, from + i)) != BLOCK)
				return i + clean;
		return i == n ? n : n - BLOCK + copy_block(to + n - BLOCK, from + n - BLOCK);
	}
	if (n >= WORD) {
		clean = copy_word(to, from);
		return clean != WORD ? clean : n - WORD + copy_word(to + n - WORD, from + n - WORD);
	}
	for (; i < n && !stops_copy(from[i]); i++)
		to[i] = from[i];
	return i;
}

/* ---- escaping ---------------------------------------------------------------------------------------------------------- */

static bool is_surrogate(const char *p, const char *end)
{
	return end - p >= 3 && (uint8_t)p[0] == 0xed && ((uint8_t)p[1] & 0xe0) == 0xa0 && ((uint8_t)p[2] & 0xc0) == 0x80;
}

static char *put_code(char *to, unsigned code)
{
	static const char hex[] = "0123456789abcdef";
	to[0] = '\\';
	to[1] = 'u';
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
	char letter = c == '"' || c == '\\' ? c
	              : c == '\b'           ? 'b'
	              : c == '\t'           ? 't'
	              : c == '\n'           ? 'n'
	              : c == '\f'           ? 'f'
	              : c == '\r'           ? 'r'
	                                    : 0;
	if (!letter)
		return put_code(to, (uint8_t)c);
	to[0] = '\\';
	to[1] = letter;
	return to + 2;
}

void json_append_string(struct buf *out, struct slice text)
{
	char *to = buf_reserve(out, text.n + SLACK), *limit = out->p + out->cap;
	const char *from = text.n ? text.p : "", *end = from + text.n;
	*to++ = '"';
	for (;;) {
		size_t clean = copy_clean(to, from, (size_t)(end - from));
		from += clean;
		to += clean;
		if (from == end)
			break;
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
