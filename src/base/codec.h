/*
 * codec.h: numbers as bytes, for the records that stores keep.
 *
 * Big-endian in keys (so that byte order is numeric order), varints (LEB128) in values. A decoder is bounded by its slice: past the
 * end or on a bad number it turns bad, gives zeros from then on, and the caller reports a damaged store once.
 */
#ifndef SYNCLINE_BASE_CODEC_H
#define SYNCLINE_BASE_CODEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/slice.h"

#define VARINT_MAX 10

static inline void be32_put(void *to, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(to, &v, 4);
}

static inline uint32_t be32_get(const void *from)
{
	uint32_t v;
	memcpy(&v, from, 4);
	return __builtin_bswap32(v);
}

static inline void be64_put(void *to, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(to, &v, 8);
}

static inline uint64_t be64_get(const void *from)
{
	uint64_t v;
	memcpy(&v, from, 8);
	return __builtin_bswap64(v);
}

/* Writes v at p (VARINT_MAX bytes of room); answers the place after it. */
static inline uint8_t *varint_put(uint8_t *p, uint64_t v)
{
	while (v >= 0x80) {
		*p++ = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	*p++ = (uint8_t)v;
	return p;
}

static inline void buf_varint(struct buf *b, uint64_t v)
{
	uint8_t *p = (uint8_t *)buf_reserve(b, VARINT_MAX);
	b->n += (size_t)(varint_put(p, v) - p);
}

/* Length, then the bytes. */
static inline void buf_text(struct buf *b, struct slice s)
{
	buf_varint(b, s.n);
	buf_append(b, s.p, s.n);
}

struct decoder {
	const uint8_t *p, *end;
	bool bad;
};

static inline struct decoder decoder_of(struct slice s)
{
	return (struct decoder){(const uint8_t *)s.p, (const uint8_t *)s.p + s.n, false};
}

static inline uint64_t decode_varint(struct decoder *d)
{
	uint64_t v = 0;
	for (int shift = 0; shift < 64; shift += 7) {
		if (d->p >= d->end)
			break;
		uint8_t c = *d->p++;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (!(c & 0x80))
			return v;
	}
	d->bad = true;
	return 0;
}

static inline struct slice decode_bytes(struct decoder *d, uint64_t n)
{
	if (d->bad || n > (uint64_t)(d->end - d->p)) {
		d->bad = true;
		return (struct slice){"", 0};
	}
	struct slice s = slice_make(d->p, n);
	d->p += n;
	return s;
}

static inline struct slice decode_text(struct decoder *d)
{
	return decode_bytes(d, decode_varint(d));
}

static inline uint8_t decode_u8(struct decoder *d)
{
	struct slice s = decode_bytes(d, 1);
	return s.n ? (uint8_t)s.p[0] : 0;
}

static inline struct slice decode_rest(struct decoder *d)
{
	return decode_bytes(d, (uint64_t)(d->end - d->p));
}

#endif
