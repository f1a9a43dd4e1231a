/* digest.h: SHA-256 with a context per thread, and the checksums of storage-semantics 3. Any thread. */
#ifndef SYNCLINE_STORAGE_DIGEST_H
#define SYNCLINE_STORAGE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

void sha256_slices(const struct slice *parts, size_t count, uint8_t out[32]);

/* Checksum of a REMOVE: of "delete.<table>/<uuid>". */
uint32_t remove_checksum(const char *subkey_table, const uint8_t uuid[16]);

#define UUID_TEXT 36
/* Lower case with dashes, not terminated. */
void uuid_text(const uint8_t uuid[16], char out[UUID_TEXT]);
/* A random UUID version 4 as text, terminated. */
void uuid_random_text(char out[UUID_TEXT + 1]);

#endif
