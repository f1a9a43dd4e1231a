/* websocket.c: RFC 6455 without extensions. */
#include "server/websocket.h"

#include <openssl/evp.h>
#include <string.h>

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_TEXT 24 /* 16 bytes in base64 */

bool ws_accept(struct slice key, char out[WS_ACCEPT_SIZE])
{
	unsigned char text[KEY_TEXT + sizeof(GUID) - 1], nonce[KEY_TEXT], digest[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	if (key.n != KEY_TEXT || !slice_ends(key, SLICE("==")))
		return false;
	/* Three bytes a group, the padding counted as zeros: 18 for a well-formed key. */
	if (EVP_DecodeBlock(nonce, (const unsigned char *)key.p, KEY_TEXT) != KEY_TEXT / 4 * 3)
		return false;
	memcpy(text, key.p, KEY_TEXT);
	memcpy(text + KEY_TEXT, GUID, sizeof(GUID) - 1);
	if (!EVP_Digest(text, sizeof(text), digest, &n, EVP_sha1(), NULL))
		return false;
	EVP_EncodeBlock((unsigned char *)out, digest, (int)n);
	return true;
}

size_t ws_frame_head(unsigned char out[WS_MAX_HEAD], enum ws_opcode opcode, uint64_t n)
{
	out[0] = (unsigned char)(0x80 | opcode);
	if (n < 126) {
		out[1] = (unsigned char)n;
		return 2;
	}
	size_t bytes = n < 65536 ? 2 : 8;
	out[1] = bytes == 2 ? 126 : 127;
	for (size_t i = 0; i < bytes; i++)
		out[2 + i] = (unsigned char)(n >> (8 * (bytes - 1 - i)));
	return 2 + bytes;
}

void ws_decoder_init(struct ws_decoder *d, size_t max_message)
{
	*d = (struct ws_decoder){.max_message = max_message, .head_need = 2};
}

void ws_decoder_free(struct ws_decoder *d)
{
	buf_free(&d->message);
}

static bool is_control(enum ws_opcode o)
{
	return o >= WS_CLOSE;
}

/* The first two bytes: how long the head is, and whether the frame may come here. 0, or the code of the fault. */
static int check_start(struct ws_decoder *d)
{
	d->final = d->head[0] & 0x80;
	d->opcode = (enum ws_opcode)(d->head[0] & 0x0f);
	unsigned length = d->head[1] & 0x7f;
	if ((d->head[0] & 0x70) || !(d->head[1] & 0x80))
		return WS_CODE_PROTOCOL; /* an extension that was not agreed on; unmasked */
	switch (d->opcode) {
	case WS_CONTINUATION:
		if (!d->message_opcode)
			return WS_CODE_PROTOCOL;
		break;
	case WS_TEXT:
	case WS_BINARY:
		if (d->message_opcode)
			return WS_CODE_PROTOCOL;
		break;
	case WS_CLOSE:
	case WS_PING:
	case WS_PONG:
		if (!d->final || length > 125)
			return WS_CODE_PROTOCOL;
		break;
	default:
		return WS_CODE_PROTOCOL;
	}
	d->head_need = 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
	return 0;
}

/* The whole head. */
static int check_head(struct ws_decoder *d)
{
	size_t bytes = d->head_need - 6;
	uint64_t n = bytes ? 0 : d->head[1] & 0x7f;
	for (size_t i = 0; i < bytes; i++)
		n = n << 8 | d->head[2 + i];
	/* The shortest form is demanded, and the top bit must be clear. */
	if ((bytes == 2 && n < 126) || (bytes == 8 && (n < 65536 || n >> 63)))
		return WS_CODE_PROTOCOL;
	memcpy(d->mask, d->head + d->head_need - 4, 4);
	d->left = n;
	d->at = 0;
	d->in_payload = true;
	if (is_control(d->opcode)) {
		d->control_n = 0;
		return 0;
	}
	if (n > d->max_message || d->message.n + n > d->max_message)
		return WS_CODE_TOO_BIG;
	if (d->opcode != WS_CONTINUATION) {
		buf_clear(&d->message);
		d->message_opcode = d->opcode;
	}
	return 0;
}

static void take_payload(struct ws_decoder *d, struct slice *bytes)
{
	size_t n = bytes->n < d->left ? bytes->n : (size_t)d->left;
	if (n == 0)
		return;
	unsigned char *to = is_control(d->opcode) ? d->control + d->control_n : (unsigned char *)buf_reserve(&d->message, n);
	for (size_t i = 0; i < n; i++)
		to[i] = (unsigned char)bytes->p[i] ^ d->mask[(d->at + i) & 3];
	if (is_control(d->opcode))
		d->control_n += n;
	else
		d->message.n += n;
	d->at += n;
	d->left -= n;
	*bytes = slice_drop(*bytes, n);
}

static bool close_code_ok(unsigned code)
{
	return (code >= 1000 && code <= 1011 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999);
}

static enum ws_result end_of_frame(struct ws_decoder *d, enum ws_opcode *opcode, struct slice *payload, int *code)
{
	d->in_payload = false;
	d->head_n = 0;
	d->head_need = 2;
	*opcode = d->opcode;
	if (is_control(d->opcode)) {
		*payload = slice_make(d->control, d->control_n);
		bool bad = d->opcode == WS_CLOSE &&
		           (d->control_n == 1 ||
		            (d->control_n >= 2 && !close_code_ok((unsigned)d->control[0] << 8 | d->control[1])));
		*code = WS_CODE_PROTOCOL;
		return bad ? WS_FAULT : WS_CONTROL;
	}
	if (!d->final)
		return WS_MORE;
	*opcode = d->message_opcode;
	*payload = buf_slice(&d->message);
	d->message_opcode = 0;
	return WS_MESSAGE;
}

/* Bytes of the head; false: more are needed. */
static bool take_head(struct ws_decoder *d, struct slice *bytes)
{
	size_t n = d->head_need - d->head_n;
	if (n > bytes->n)
		n = bytes->n;
	memcpy(d->head + d->head_n, bytes->p, n);
	d->head_n += n;
	*bytes = slice_drop(*bytes, n);
	return d->head_n == d->head_need;
}

enum ws_result ws_decode(struct ws_decoder *d, struct slice *bytes, enum ws_opcode *opcode, struct slice *payload, int *code)
{
	/* The last message has been used by now; memory of a large one is not kept. */
	if (!d->in_payload && d->head_n == 0 && !d->message_opcode)
		buf_free(&d->message);
	for (;;) {
		if (!d->in_payload) {
			if (bytes->n == 0 || !take_head(d, bytes))
				return WS_MORE;
			*code = d->head_need == 2 ? check_start(d) : check_head(d);
			if (*code)
				return WS_FAULT;
			if (!d->in_payload)
				continue;
		}
		take_payload(d, bytes);
		if (d->left)
			return WS_MORE;
		enum ws_result result = end_of_frame(d, opcode, payload, code);
		if (result != WS_MORE)
			return result;
	}
}
