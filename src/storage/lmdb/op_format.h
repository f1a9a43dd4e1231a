/*
 * op_format.h: the value of an operation in the ops database.
 *
 * ops: bucket u32 BE, op id u64 BE -> value:
 *   head u8            kind (bits 0-1: PUT, REMOVE, MOVE, CLEAR), bits 2-3 form of the data (0 as it is, 1 zstd, 2 reference),
 *                      bit 4: other operations refer to this one's data
 *   checksum u32 BE
 *   PUT, REMOVE:       table varint (0: the subkey is the uuid alone), uuid 16 bytes, type varint, object id (varint length, bytes)
 *   PUT, bit 4:        count varint, then of each operation that refers to this one: bucket varint, op id less this one's varint
 *   PUT:               data: the text; or its length (varint) and zstd; or bucket u32 BE and op id u64 BE of the operation that has it
 *   MOVE, CLEAR:       target op id varint (0: none)
 *
 * The JSON text of a row that goes to several buckets is stored once, with the first of its operations (notes-on-libraries 1); all
 * were written in one transaction. Whoever removes the text of an operation with bit 4 must first give it to one of those that refer
 * to it. The list may name operations that are no PUTs any more, or refer elsewhere by now.
 */
#ifndef SYNCLINE_STORAGE_LMDB_OP_FORMAT_H
#define SYNCLINE_STORAGE_LMDB_OP_FORMAT_H

#include "storage/lmdb/lmdb.h"

enum { DATA_PLAIN = 0, DATA_ZSTD = 1, DATA_REFERENCE = 2 };
#define DATA_SHIFT 2
#define OP_SHARED 0x10
#define OP_KEY 12

/* The parts of a stored operation; they live as long as its value. */
struct stored_op {
	enum op_kind kind;
	int form; /* of the data */
	bool shared;
	uint32_t checksum;
	struct slice
	        row; /* PUT, REMOVE: table, uuid, type and object id, as they stand: what identifies the row within the bucket */
	struct slice references; /* count and entries */
	struct slice data;       /* as stored: behind it nothing follows */
	uint64_t target;
};

static inline void op_key(uint8_t key[OP_KEY], uint32_t bucket, uint64_t op_id)
{
	be32_put(key, bucket);
	be64_put(key + 4, op_id);
}

static inline void op_skip_row(struct decoder *d)
{
	decode_varint(d);
	decode_bytes(d, 16);
	decode_varint(d);
	decode_text(d);
}

static inline void op_skip_references(struct decoder *d)
{
	for (uint64_t n = decode_varint(d); n > 0 && !d->bad; n--) {
		decode_varint(d);
		decode_varint(d);
	}
}

/* False: damaged. */
static inline bool op_parse(struct slice value, struct stored_op *out)
{
	struct decoder d = decoder_of(value);
	uint8_t head = decode_u8(&d);
	struct slice sum = decode_bytes(&d, 4);
	*out = (struct stored_op){.kind = (enum op_kind)(head & 3)};
	if (d.bad)
		return false;
	out->checksum = be32_get(sum.p);
	if (out->kind == OP_MOVE || out->kind == OP_CLEAR) {
		out->target = decode_varint(&d);
		return !d.bad;
	}
	const uint8_t *start = d.p;
	op_skip_row(&d);
	out->row = slice_make(start, (size_t)(d.p - start));
	if (out->kind != OP_PUT)
		return !d.bad;
	out->form = head >> DATA_SHIFT & 3;
	out->shared = head & OP_SHARED;
	start = d.p;
	if (out->shared)
		op_skip_references(&d);
	out->references = slice_make(start, (size_t)(d.p - start));
	out->data = decode_rest(&d);
	return !d.bad && (out->form != DATA_REFERENCE || out->data.n == OP_KEY);
}

#endif
