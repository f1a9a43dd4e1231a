/*
 * record.h: the record that is kept for each source row (incremental-deploy 5), without its JSON.
 *
 * Format, version by the store's format version:
 *   flags u8          1 incomplete, 2 an image is kept, 4 the uuid is the whole subkey
 *   epoch varint
 *   uuid 16 bytes     second half of the row's subkey
 *   count varint      contributions, each:
 *     bucket varint
 *     type varint     number of the object type
 *     id varint       0: same object id as the one before; else length + 1, then the bytes
 *     digest 8 bytes  of the last PUT
 *   count varint      lookups, each:
 *     definition varint, key (varint length, bytes), digest 8 bytes of the results
 */
#ifndef SYNCLINE_STORAGE_RECORD_H
#define SYNCLINE_STORAGE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/slice.h"

#define RECORD_DIGEST 8

struct contribution {
	uint32_t bucket, type;
	struct slice object_id;
	const uint8_t *digest; /* RECORD_DIGEST bytes */
};

struct record_lookup {
	uint32_t definition;
	struct slice key;
	const uint8_t *digest;
};

/* A decoded record. A zeroed one is empty and ready; the arrays grow and are used again. */
struct row_record {
	bool found, incomplete, has_image, uuid_alone;
	uint64_t epoch;
	const uint8_t *uuid;
	struct contribution *contributions;
	size_t contribution_count, contribution_cap;
	struct record_lookup *lookups;
	size_t lookup_count, lookup_cap;
	struct buf bytes; /* copy of the record that the slices point into */
};

void row_record_free(struct row_record *r);
void row_record_clear(struct row_record *r);
/* Copies and decodes; false: damaged. */
bool row_record_decode(struct row_record *r, struct slice record, struct error *err);

/* Encoding, in order: head, contribution count, contributions, lookup count, lookups. */
struct record_head {
	bool incomplete, has_image, uuid_alone;
	uint64_t epoch;
	const uint8_t *uuid;
};
void record_put_head(struct buf *out, const struct record_head *h);
void record_put_contribution(struct buf *out, const struct contribution *c, struct slice *previous_id);
void record_put_lookup(struct buf *out, uint32_t definition, struct slice key, const uint8_t *digest);

#endif
