/* encode_ndjson.c: lines as JSON text, one a line (sync-protocol 4). */
#include "sync/encode.h"

#include "value/value.h"

/* A decimal number as a JSON string: op ids and write checkpoints. */
static void put_id(struct buf *out, uint64_t id)
{
	buf_putc(out, '"');
	buf_u64(out, id);
	buf_putc(out, '"');
}

static void put_bool(struct buf *out, bool v)
{
	if (v)
		buf_lit(out, "true");
	else
		buf_lit(out, "false");
}

static void put_bucket(struct buf *out, const struct line_bucket *b)
{
	buf_lit(out, "{\"bucket\":");
	json_string(out, b->name);
	buf_lit(out, ",\"checksum\":");
	buf_i64(out, (int32_t)b->checksum);
	buf_lit(out, ",\"count\":");
	buf_u64(out, b->count);
	buf_lit(out, ",\"priority\":");
	buf_i64(out, b->priority);
	buf_lit(out, ",\"subscriptions\":[");
	for (size_t i = 0; i < b->reason_count; i++) {
		if (i)
			buf_putc(out, ',');
		if (b->reasons[i].is_default)
			buf_lit(out, "{\"default\":");
		else
			buf_lit(out, "{\"sub\":");
		buf_u64(out, b->reasons[i].index);
		buf_putc(out, '}');
	}
	buf_lit(out, "]}");
}

static void put_buckets(struct buf *out, const struct checkpoint_line *line)
{
	for (size_t i = 0; i < line->bucket_count; i++) {
		if (i)
			buf_putc(out, ',');
		put_bucket(out, &line->buckets[i]);
	}
}

static void put_stream(struct buf *out, const struct resolved_stream *s)
{
	buf_lit(out, "{\"name\":");
	json_string(out, s->name);
	buf_lit(out, ",\"is_default\":");
	put_bool(out, s->is_default);
	buf_lit(out, ",\"errors\":[");
	for (size_t i = 0; i < s->error_count; i++) {
		const struct resolved_stream_error *e = &s->errors[i];
		if (i)
			buf_putc(out, ',');
		buf_lit(out, "{\"subscription\":");
		if (e->is_default)
			buf_lit(out, "\"default\"");
		else
			buf_u64(out, e->subscription);
		buf_lit(out, ",\"message\":");
		json_string(out, e->message);
		buf_putc(out, '}');
	}
	buf_lit(out, "]}");
}

void ndjson_streams(struct buf *out, const struct resolved_stream *streams, size_t count)
{
	buf_putc(out, '[');
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_putc(out, ',');
		put_stream(out, &streams[i]);
	}
	buf_putc(out, ']');
}

static void put_removed(struct buf *out, const struct checkpoint_line *line)
{
	for (size_t i = 0; i < line->removed_count; i++) {
		if (i)
			buf_putc(out, ',');
		json_string(out, line->removed[i]);
	}
}

void ndjson_checkpoint(struct buf *out, const struct checkpoint_line *line)
{
	if (line->diff)
		buf_lit(out, "{\"checkpoint_diff\":{\"last_op_id\":");
	else
		buf_lit(out, "{\"checkpoint\":{\"last_op_id\":");
	put_id(out, line->last_op_id);
	if (line->write_checkpoint) {
		buf_lit(out, ",\"write_checkpoint\":");
		put_id(out, line->write_checkpoint);
	}
	if (line->diff) {
		buf_lit(out, ",\"removed_buckets\":[");
		put_removed(out, line);
		buf_lit(out, "],\"updated_buckets\":[");
		put_buckets(out, line);
		buf_putc(out, ']');
	} else {
		buf_lit(out, ",\"buckets\":[");
		put_buckets(out, line);
		buf_lit(out, "],\"streams\":");
		ndjson_streams(out, line->streams, line->stream_count);
	}
	buf_lit(out, "}}\n");
}

void ndjson_complete(struct buf *out, uint64_t last_op_id, int priority)
{
	if (priority >= 0)
		buf_lit(out, "{\"partial_checkpoint_complete\":{\"last_op_id\":");
	else
		buf_lit(out, "{\"checkpoint_complete\":{\"last_op_id\":");
	put_id(out, last_op_id);
	if (priority >= 0) {
		buf_lit(out, ",\"priority\":");
		buf_i64(out, priority);
	}
	buf_lit(out, "}}\n");
}

void ndjson_token_expires_in(struct buf *out, int64_t seconds)
{
	buf_lit(out, "{\"token_expires_in\":");
	buf_i64(out, seconds);
	buf_lit(out, "}\n");
}

/* The fixed parts are written through one reservation; only the texts of unknown size go through json_string. */
void ndjson_operation(struct buf *out, uint32_t index, const struct op_view *op, bool nested)
{
	struct slice word = op_word(op->kind);
	char *p = buf_reserve(out, 96);
	size_t n = 0;
	if (index)
		p[n++] = ',';
	memcpy(p + n, "{\"op_id\":\"", 10);
	n += 10;
	n += format_u64(p + n, op->op_id);
	memcpy(p + n, "\",\"op\":\"", 8);
	n += 8;
	memcpy(p + n, word.p, word.n);
	n += word.n;
	p[n++] = '"';
	out->n += n;
	bool row = op->kind == OP_PUT || op->kind == OP_REMOVE;
	if (row) {
		buf_lit(out, ",\"object_type\":");
		json_string(out, op->object_type);
		buf_lit(out, ",\"object_id\":");
		json_string(out, op->object_id);
	}
	p = buf_reserve(out, SUBKEY_SIZE + 64);
	memcpy(p, ",\"checksum\":", 12);
	n = 12;
	n += format_u64(p + n, op->checksum);
	if (!row) {
		p[n++] = '}';
		out->n += n;
		return;
	}
	memcpy(p + n, ",\"subkey\":", 10);
	out->n += n + 10;
	char subkey[SUBKEY_SIZE];
	json_string(out, slice_make(subkey, format_subkey(subkey, op)));
	buf_lit(out, ",\"data\":");
	if (op->kind == OP_REMOVE)
		buf_lit(out, "null");
	else if (nested)
		buf_slice_append(out, op->data);
	else
		json_string(out, op->data);
	buf_putc(out, '}');
}

void ndjson_data_head(struct buf *out, const struct data_line *line)
{
	buf_lit(out, "{\"data\":{\"bucket\":");
	json_string(out, line->bucket);
	buf_lit(out, ",\"after\":");
	put_id(out, line->after);
	buf_lit(out, ",\"has_more\":");
	put_bool(out, line->has_more);
	buf_lit(out, ",\"data\":[");
}

void ndjson_data_tail(struct buf *out, const struct data_line *line)
{
	buf_lit(out, "],\"next_after\":");
	put_id(out, line->next_after);
	buf_lit(out, "}}\n");
}
