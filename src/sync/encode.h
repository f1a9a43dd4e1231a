/*
 * encode.h: protocol lines as bytes (sync-protocol 4), in NDJSON and in BSON.
 *
 * Pure functions that append to a buffer. A data line has three parts: a head and a tail that belong to the session, and between
 * them the list of operations, which depends on (bucket, range, form) alone and may be shared by many sessions (sync-protocol 6,
 * "encode once").
 */
#ifndef SYNCLINE_SYNC_ENCODE_H
#define SYNCLINE_SYNC_ENCODE_H

#include "base/buf.h"
#include "rules/rules.h"
#include "storage/storage.h"
#include "sync/session.h"

/* The forms of a list of operations; they never mix. */
enum operations_form {
	FORM_JSON_TEXT,   /* data is a JSON string (raw_data) */
	FORM_JSON_NESTED, /* data is the row's text, spliced in as an object */
	FORM_BSON,
};

/* BUCKET of the specification. */
struct line_bucket {
	struct slice name;
	uint32_t checksum;
	uint64_t count;
	int priority;
	const struct bucket_reason *reasons;
	size_t reason_count;
};

/* A checkpoint or checkpoint_diff line. write_checkpoint 0: left out. */
struct checkpoint_line {
	bool diff;
	uint64_t last_op_id, write_checkpoint;
	const struct line_bucket *buckets; /* all of them, or the updated ones */
	size_t bucket_count;
	const struct resolved_stream *streams; /* checkpoint only */
	size_t stream_count;
	const struct slice *removed; /* diff only */
	size_t removed_count;
};

/* The parts of a data line that are the session's own. */
struct data_line {
	struct slice bucket;
	uint64_t after, next_after;
	bool has_more;
};

void encode_checkpoint(enum line_encoding encoding, struct buf *out, const struct checkpoint_line *line);
/* priority < 0: the full checkpoint_complete. */
void encode_complete(enum line_encoding encoding, struct buf *out, uint64_t last_op_id, int priority);
void encode_token_expires_in(enum line_encoding encoding, struct buf *out, int64_t seconds);

/* Appends operation number `index` (from 0) of a list. */
void encode_operation(enum operations_form form, struct buf *out, uint32_t index, const struct op_view *op);
/* What stands before and after the `operations_size` bytes of the list. */
void encode_data_head(enum line_encoding encoding, struct buf *out, const struct data_line *line, size_t operations_size);
void encode_data_tail(enum line_encoding encoding, struct buf *out, const struct data_line *line);

/* "<table>/<uuid>" at p, which has room for SUBKEY_SIZE bytes; answers the length. */
#define SUBKEY_SIZE 128
size_t format_subkey(char *p, const struct op_view *op);
/* The word of an operation: PUT, REMOVE, MOVE, CLEAR. */
struct slice op_word(enum op_kind kind);

/* One function of each kind for each encoding; encode.c chooses. */
void ndjson_checkpoint(struct buf *out, const struct checkpoint_line *line);
void ndjson_complete(struct buf *out, uint64_t last_op_id, int priority);
void ndjson_token_expires_in(struct buf *out, int64_t seconds);
void ndjson_operation(struct buf *out, uint32_t index, const struct op_view *op, bool nested);
void ndjson_data_head(struct buf *out, const struct data_line *line);
void ndjson_data_tail(struct buf *out, const struct data_line *line);
/* The streams array alone: what a session compares when the plan changes. */
void ndjson_streams(struct buf *out, const struct resolved_stream *streams, size_t count);

void bson_checkpoint(struct buf *out, const struct checkpoint_line *line);
void bson_complete(struct buf *out, uint64_t last_op_id, int priority);
void bson_token_expires_in(struct buf *out, int64_t seconds);
void bson_operation(struct buf *out, uint32_t index, const struct op_view *op);
void bson_data_head(struct buf *out, const struct data_line *line, size_t operations_size);
void bson_data_tail(struct buf *out, const struct data_line *line);

#endif
