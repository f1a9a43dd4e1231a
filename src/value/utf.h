/*
 * utf.h: UTF-8 seen as UTF-16 code units, which is how the dialect counts and compares text (sync-config 9 to 11).
 *
 * Text is UTF-8 in which a lone surrogate half may stand as three bytes (ED A0 80 to ED BF BF). Bytes that are neither are taken
 * one by one as U+FFFD when decoded, and never read beyond the end.
 */
#ifndef SYNCLINE_VALUE_UTF_H
#define SYNCLINE_VALUE_UTF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

/* Decodes the character at p (p < end), answers its length in bytes. Surrogate halves are decoded; invalid: U+FFFD, 1. */
size_t utf8_decode(const char *p, const char *end, uint32_t *code);
/* Writes a code point or surrogate half, answers its length (1 to 4). */
size_t utf8_encode(char *p, uint32_t code);

/* Length in UTF-16 code units. */
size_t utf16_length(struct slice s);
/* Order by UTF-16 code units: <0, 0, >0. */
int utf16_compare(struct slice a, struct slice b);
/* Units [from, to) of the text, clamped to it. A half of a pair that the borders cut off becomes a lone half. */
struct slice utf16_substring(struct slice s, size_t from, size_t to, struct arena *arena);

/* a followed by b; two halves that meet at the seam become one character. */
struct slice utf8_join(struct slice a, struct slice b, struct arena *arena);
/* Bytes as text (9.3): a leading byte-order mark dropped, U+FFFD for every maximal invalid subpart. May point into bytes. */
struct slice utf8_from_bytes(struct slice bytes, struct arena *arena);

/* Length in bytes of the white space character at p (10.4: blanks, Unicode space separators, line separators, BOM), 0 if none. */
size_t utf8_space(const char *p, const char *end);
/* The text without white space in front. */
struct slice utf8_skip_space(struct slice s);

#endif
