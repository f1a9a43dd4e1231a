/* rsocket.c: parses client frames, builds server frames. */
#include "server/rsocket.h"

static bool take(struct slice *rest, size_t n, struct slice *out)
{
	if (rest->n < n)
		return false;
	*out = slice_make(rest->p, n);
	*rest = slice_drop(*rest, n);
	return true;
}

static bool take_number(struct slice *rest, size_t bytes, uint32_t *out)
{
	struct slice s;
	if (!take(rest, bytes, &s))
		return false;
	*out = 0;
	for (size_t i = 0; i < bytes; i++)
		*out = *out << 8 | (unsigned char)s.p[i];
	return true;
}

static bool take_text(struct slice *rest, struct slice *out)
{
	uint32_t n;
	return take_number(rest, 1, &n) && take(rest, n, out);
}

static bool take_setup(struct slice *rest, struct rsocket_frame *f)
{
	uint32_t version, interval, token;
	struct slice resume;
	if (!take_number(rest, 4, &version) || !take_number(rest, 4, &interval) || !take_number(rest, 4, &f->lifetime_ms))
		return false;
	if (f->flags & RSOCKET_FOLLOWS && (!take_number(rest, 2, &token) || !take(rest, token, &resume)))
		return false;
	return take_text(rest, &f->metadata_mime) && take_text(rest, &f->data_mime);
}

bool rsocket_parse(struct slice message, struct rsocket_frame *f)
{
	uint32_t word;
	struct slice rest = message, position;
	*f = (struct rsocket_frame){0};
	if (!take_number(&rest, 4, &f->stream) || f->stream >> 31 || !take_number(&rest, 2, &word))
		return false;
	f->type = word >> 10;
	f->flags = word & 0x3ff;
	bool ok = true;
	switch (f->type) {
	case RSOCKET_SETUP:
		ok = take_setup(&rest, f);
		break;
	case RSOCKET_KEEPALIVE:
		ok = take(&rest, 8, &position);
		break;
	case RSOCKET_REQUEST_STREAM:
	case RSOCKET_REQUEST_CHANNEL:
	case RSOCKET_REQUEST_N:
		ok = take_number(&rest, 4, &f->n) && !(f->n >> 31);
		break;
	default:
		break;
	}
	if (!ok)
		return false;
	if (f->flags & RSOCKET_METADATA && f->type != RSOCKET_KEEPALIVE && f->type != RSOCKET_REQUEST_N &&
	    f->type != RSOCKET_CANCEL) {
		uint32_t n;
		/* A metadata push is metadata to its end. */
		bool whole = f->type == RSOCKET_METADATA_PUSH;
		if (whole)
			n = (uint32_t)rest.n;
		else if (!take_number(&rest, 3, &n))
			return false;
		if (!take(&rest, n, &f->metadata))
			return false;
	}
	f->data = rest;
	return true;
}

void rsocket_head(unsigned char out[RSOCKET_HEAD], uint32_t stream, enum rsocket_type type, unsigned flags)
{
	unsigned word = (unsigned)type << 10 | flags;
	out[0] = (unsigned char)(stream >> 24);
	out[1] = (unsigned char)(stream >> 16);
	out[2] = (unsigned char)(stream >> 8);
	out[3] = (unsigned char)stream;
	out[4] = (unsigned char)(word >> 8);
	out[5] = (unsigned char)word;
}

static void append_head(struct buf *out, uint32_t stream, enum rsocket_type type, unsigned flags)
{
	rsocket_head((unsigned char *)buf_reserve(out, RSOCKET_HEAD), stream, type, flags);
	out->n += RSOCKET_HEAD;
}

void rsocket_error(struct buf *out, uint32_t stream, enum rsocket_error code, struct slice text)
{
	append_head(out, stream, RSOCKET_ERROR, 0);
	const char bytes[4] = {0, 0, (char)(code >> 8), (char)code};
	buf_append(out, bytes, sizeof(bytes));
	buf_slice_append(out, text);
}

void rsocket_keepalive_answer(struct buf *out, struct slice data)
{
	static const char position[8];
	append_head(out, 0, RSOCKET_KEEPALIVE, 0);
	buf_append(out, position, sizeof(position));
	buf_slice_append(out, data);
}

void rsocket_complete(struct buf *out, uint32_t stream)
{
	append_head(out, stream, RSOCKET_PAYLOAD, RSOCKET_COMPLETE);
}
