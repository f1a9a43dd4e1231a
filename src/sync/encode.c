/* encode.c: chooses the encoder of a line, and what both encoders share. */
#include "sync/encode.h"

void encode_checkpoint(enum line_encoding encoding, struct buf *out, const struct checkpoint_line *line)
{
	if (encoding == ENCODING_BSON)
		bson_checkpoint(out, line);
	else
		ndjson_checkpoint(out, line);
}

void encode_complete(enum line_encoding encoding, struct buf *out, uint64_t last_op_id, int priority)
{
	if (encoding == ENCODING_BSON)
		bson_complete(out, last_op_id, priority);
	else
		ndjson_complete(out, last_op_id, priority);
}

void encode_token_expires_in(enum line_encoding encoding, struct buf *out, int64_t seconds)
{
	if (encoding == ENCODING_BSON)
		bson_token_expires_in(out, seconds);
	else
		ndjson_token_expires_in(out, seconds);
}

void encode_operation(enum operations_form form, struct buf *out, uint32_t index, const struct op_view *op)
{
	if (form == FORM_BSON)
		bson_operation(out, index, op);
	else
		ndjson_operation(out, index, op, form == FORM_JSON_NESTED);
}

void encode_data_head(enum line_encoding encoding, struct buf *out, const struct data_line *line, size_t operations_size)
{
	if (encoding == ENCODING_BSON)
		bson_data_head(out, line, operations_size);
	else
		ndjson_data_head(out, line);
}

void encode_data_tail(enum line_encoding encoding, struct buf *out, const struct data_line *line)
{
	if (encoding == ENCODING_BSON)
		bson_data_tail(out, line);
	else
		ndjson_data_tail(out, line);
}

/* The table part is an id of the storage's own making (at most 39 bytes); longer would be a fault, so it is cut. */
size_t format_subkey(char *p, const struct op_view *op)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = op->subkey_table ? strnlen(op->subkey_table, SUBKEY_SIZE - 37) : 0;
	if (n)
		memcpy(p, op->subkey_table, n);
	if (n)
		p[n++] = '/';
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			p[n++] = '-';
		uint8_t byte = op->subkey_uuid ? op->subkey_uuid[i] : 0;
		p[n++] = hex[byte >> 4];
		p[n++] = hex[byte & 15];
	}
	return n;
}

struct slice op_word(enum op_kind kind)
{
	switch (kind) {
	case OP_PUT:
		return SLICE("PUT");
	case OP_REMOVE:
		return SLICE("REMOVE");
	case OP_MOVE:
		return SLICE("MOVE");
	case OP_CLEAR:
		break;
	}
	return SLICE("CLEAR");
}
