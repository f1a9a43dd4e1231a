/*
 * encode_bson.c: lines as BSON documents (sync-protocol 4, "BSON form"; bsonspec.org for the bytes).
 *
 * Numbers are int32 where they fit, else double. A document begins with its length, which is filled in when it is closed; that
 * of a data line is computed ahead, because the list of operations may not be in the same buffer.
 */
#include "sync/encode.h"

enum {
	BSON_DOUBLE = 0x01,
	BSON_STRING = 0x02,
	BSON_DOCUMENT = 0x03,
	BSON_ARRAY = 0x04,
	BSON_BOOL = 0x08,
	BSON_NULL = 0x0A,
	BSON_INT32 = 0x10
};

static void put_le32(char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (char)(v >> (8 * i));
}

static void append_le32(struct buf *out, uint32_t v)
{
	put_le32(buf_reserve(out, 4), v);
	out->n += 4;
}

/* Type and name of an element. */
static void put_key(struct buf *out, char type, struct slice key)
{
	char *p = buf_reserve(out, key.n + 2);
	p[0] = type;
	memcpy(p + 1, key.p, key.n);
	p[key.n + 1] = '\0';
	out->n += key.n + 2;
}

/* Begins a document; answers where its length goes. */
static size_t begin(struct buf *out)
{
	size_t at = out->n;
	append_le32(out, 0);
	return at;
}

static size_t begin_key(struct buf *out, char type, struct slice key)
{
	put_key(out, type, key);
	return begin(out);
}

/* Index of an array element as its name. */
static size_t begin_index(struct buf *out, size_t index)
{
	char key[20];
	return begin_key(out, BSON_DOCUMENT, slice_make(key, format_u64(key, index)));
}

static void end(struct buf *out, size_t at)
{
	buf_putc(out, '\0');
	put_le32(out->p + at, (uint32_t)(out->n - at));
}

static void put_text(struct buf *out, struct slice text)
{
	char *p = buf_reserve(out, text.n + 5);
	put_le32(p, (uint32_t)text.n + 1);
	if (text.n)
		memcpy(p + 4, text.p, text.n);
	p[text.n + 4] = '\0';
	out->n += text.n + 5;
}

static void put_string(struct buf *out, struct slice key, struct slice text)
{
	put_key(out, BSON_STRING, key);
	put_text(out, text);
}

static void put_id(struct buf *out, struct slice key, uint64_t id)
{
	char digits[20];
	put_string(out, key, slice_make(digits, format_u64(digits, id)));
}

static void put_number(struct buf *out, struct slice key, int64_t v)
{
	if (v >= INT32_MIN && v <= INT32_MAX) {
		put_key(out, BSON_INT32, key);
		append_le32(out, (uint32_t)v);
		return;
	}
	double d = (double)v;
	uint64_t bits;
	memcpy(&bits, &d, sizeof(bits));
	put_key(out, BSON_DOUBLE, key);
	append_le32(out, (uint32_t)bits);
	append_le32(out, (uint32_t)(bits >> 32));
}

static void put_bool(struct buf *out, struct slice key, bool v)
{
	put_key(out, BSON_BOOL, key);
	buf_putc(out, v ? 1 : 0);
}

static void put_reasons(struct buf *out, const struct line_bucket *b)
{
	size_t list = begin_key(out, BSON_ARRAY, SLICE("subscriptions"));
	for (size_t i = 0; i < b->reason_count; i++) {
		size_t at = begin_index(out, i);
		put_number(out, b->reasons[i].is_default ? SLICE("default") : SLICE("sub"), b->reasons[i].index);
		end(out, at);
	}
	end(out, list);
}

static void put_buckets(struct buf *out, struct slice key, const struct checkpoint_line *line)
{
	size_t list = begin_key(out, BSON_ARRAY, key);
	for (size_t i = 0; i < line->bucket_count; i++) {
		const struct line_bucket *b = &line->buckets[i];
		size_t at = begin_index(out, i);
		put_string(out, SLICE("bucket"), b->name);
		put_number(out, SLICE("checksum"), (int32_t)b->checksum);
		put_number(out, SLICE("count"), (int64_t)b->count);
		put_number(out, SLICE("priority"), b->priority);
		put_reasons(out, b);
		end(out, at);
	}
	end(out, list);
}

static void put_stream_errors(struct buf *out, const struct resolved_stream *s)
{
	size_t list = begin_key(out, BSON_ARRAY, SLICE("errors"));
	for (size_t i = 0; i < s->error_count; i++) {
		const struct resolved_stream_error *e = &s->errors[i];
		size_t at = begin_index(out, i);
		if (e->is_default)
			put_string(out, SLICE("subscription"), SLICE("default"));
		else
			put_number(out, SLICE("subscription"), e->subscription);
		put_string(out, SLICE("message"), e->message);
		end(out, at);
	}
	end(out, list);
}

static void put_streams(struct buf *out, const struct checkpoint_line *line)
{
	size_t list = begin_key(out, BSON_ARRAY, SLICE("streams"));
	for (size_t i = 0; i < line->stream_count; i++) {
		const struct resolved_stream *s = &line->streams[i];
		size_t at = begin_index(out, i);
		put_string(out, SLICE("name"), s->name);
		put_bool(out, SLICE("is_default"), s->is_default);
		put_stream_errors(out, s);
		end(out, at);
	}
	end(out, list);
}

static void put_removed(struct buf *out, const struct checkpoint_line *line)
{
	size_t list = begin_key(out, BSON_ARRAY, SLICE("removed_buckets"));
	for (size_t i = 0; i < line->removed_count; i++) {
		char key[20];
		put_string(out, slice_make(key, format_u64(key, i)), line->removed[i]);
	}
	end(out, list);
}

void bson_checkpoint(struct buf *out, const struct checkpoint_line *line)
{
	size_t document = begin(out);
	size_t body = begin_key(out, BSON_DOCUMENT, line->diff ? SLICE("checkpoint_diff") : SLICE("checkpoint"));
	put_id(out, SLICE("last_op_id"), line->last_op_id);
	if (line->write_checkpoint)
		put_id(out, SLICE("write_checkpoint"), line->write_checkpoint);
	if (line->diff) {
		put_removed(out, line);
		put_buckets(out, SLICE("updated_buckets"), line);
	} else {
		put_buckets(out, SLICE("buckets"), line);
		put_streams(out, line);
	}
	end(out, body);
	end(out, document);
}

void bson_complete(struct buf *out, uint64_t last_op_id, int priority)
{
	size_t document = begin(out);
	size_t body = begin_key(out, BSON_DOCUMENT,
	                        priority >= 0 ? SLICE("partial_checkpoint_complete") : SLICE("checkpoint_complete"));
	put_id(out, SLICE("last_op_id"), last_op_id);
	if (priority >= 0)
		put_number(out, SLICE("priority"), priority);
	end(out, body);
	end(out, document);
}

void bson_token_expires_in(struct buf *out, int64_t seconds)
{
	size_t document = begin(out);
	put_number(out, SLICE("token_expires_in"), seconds);
	end(out, document);
}

void bson_operation(struct buf *out, uint32_t index, const struct op_view *op)
{
	size_t at = begin_index(out, index);
	bool row = op->kind == OP_PUT || op->kind == OP_REMOVE;
	put_id(out, SLICE("op_id"), op->op_id);
	put_string(out, SLICE("op"), op_word(op->kind));
	if (row) {
		put_string(out, SLICE("object_type"), op->object_type);
		put_string(out, SLICE("object_id"), op->object_id);
	}
	put_number(out, SLICE("checksum"), op->checksum);
	if (row) {
		char subkey[SUBKEY_SIZE];
		put_string(out, SLICE("subkey"), slice_make(subkey, format_subkey(subkey, op)));
		if (op->kind == OP_PUT)
			put_string(out, SLICE("data"), op->data);
		else
			put_key(out, BSON_NULL, SLICE("data"));
	}
	end(out, at);
}

/* What follows the operations: end of the list, next_after, ends of both documents. */
void bson_data_tail(struct buf *out, const struct data_line *line)
{
	buf_putc(out, '\0');
	put_id(out, SLICE("next_after"), line->next_after);
	buf_append(out, "\0\0", 2);
}

void bson_data_head(struct buf *out, const struct data_line *line, size_t operations_size)
{
	char digits[20];
	/* 1 for the end of the list; element head 12, length 4, digits, NUL; 2 for the ends of the documents */
	size_t tail = 1 + 12 + 4 + format_u64(digits, line->next_after) + 1 + 2;
	size_t document = begin(out);
	size_t body = begin_key(out, BSON_DOCUMENT, SLICE("data"));
	put_string(out, SLICE("bucket"), line->bucket);
	put_id(out, SLICE("after"), line->after);
	put_bool(out, SLICE("has_more"), line->has_more);
	size_t list = begin_key(out, BSON_ARRAY, SLICE("data"));
	put_le32(out->p + list, (uint32_t)(4 + operations_size + 1));
	put_le32(out->p + body, (uint32_t)(out->n - body + operations_size + tail - 1));
	put_le32(out->p + document, (uint32_t)(out->n - document + operations_size + tail));
}
