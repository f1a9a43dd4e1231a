/* trace_client.h: the client side of a trace: HTTP streams (chunked, gzip, zstd, NDJSON, BSON) and WebSockets with RSocket frames. */
#ifndef TESTS_VECTORS_TRACE_CLIENT_H
#define TESTS_VECTORS_TRACE_CLIENT_H

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "server/bson_json.h"

#define PATIENCE_MS 10000

enum got { GOT_TIMEOUT, GOT_IT, GOT_END };

struct wire {
	int fd;
	struct buf in;
	size_t at; /* bytes of in that are used up */
	bool ended;
};

static bool wire_open(struct wire *w, int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int on = 1;
	*w = (struct wire){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return w->fd >= 0 && connect(w->fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

static void wire_close(struct wire *w)
{
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	buf_free(&w->in);
}

static void wire_send(struct wire *w, const void *p, size_t n)
{
	for (size_t done = 0; done < n;) {
		ssize_t k = send(w->fd, (const char *)p + done, n - done, MSG_NOSIGNAL);
		if (k <= 0)
			return;
		done += (size_t)k;
	}
}

/* One read; GOT_TIMEOUT: nothing came by deadline (monotonic ms). */
static enum got wire_fill(struct wire *w, int64_t deadline)
{
	struct pollfd p = {.fd = w->fd, .events = POLLIN};
	int64_t wait = deadline - clock_mono_ms();
	if (w->ended || w->fd < 0)
		return GOT_END;
	if (poll(&p, 1, wait > 0 ? (int)wait : 0) <= 0)
		return GOT_TIMEOUT;
	ssize_t n = recv(w->fd, buf_reserve(&w->in, 65536), 65536, 0);
	if (n <= 0) {
		w->ended = true;
		return GOT_END;
	}
	w->in.n += (size_t)n;
	return GOT_IT;
}

/* ---- HTTP --------------------------------------------------------------------------------------------------------------------- */

struct http {
	struct wire wire;
	int status; /* 0: the head has not come */
	char head[8192];
	bool chunked, bson, complete; /* complete: the body's regular end was seen */
	size_t left;                  /* of the chunk, or of a body with a length */
	z_stream *inflate;
	ZSTD_DStream *zstd;
	struct buf body; /* decoded */
	size_t line_at;
};

/* NULL: there is none. */
static const char *http_header(const struct http *h, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);
	for (const char *p = strstr(h->head, "\r\n"); p && p[2]; p = strstr(p + 2, "\r\n")) {
		if (strncasecmp(p + 2, name, n) != 0 || p[2 + n] != ':')
			continue;
		const char *v = p + 3 + n;
		v += strspn(v, " ");
		snprintf(out, size, "%.*s", (int)strcspn(v, "\r"), v);
		return out;
	}
	return NULL;
}

static void http_close(struct http *h)
{
	wire_close(&h->wire);
	if (h->inflate) {
		inflateEnd(h->inflate);
		free(h->inflate);
	}
	ZSTD_freeDStream(h->zstd);
	buf_free(&h->body);
	free(h);
}

static void http_begin_body(struct http *h)
{
	char value[256];
	const char *coding = http_header(h, "content-encoding", value, sizeof(value));
	if (coding && strcmp(coding, "gzip") == 0) {
		h->inflate = calloc(1, sizeof(*h->inflate));
		inflateInit2(h->inflate, 16 + MAX_WBITS);
	} else if (coding && strcmp(coding, "zstd") == 0) {
		h->zstd = ZSTD_createDStream();
	}
	h->chunked = http_header(h, "transfer-encoding", value, sizeof(value)) != NULL;
	const char *length = http_header(h, "content-length", value, sizeof(value));
	h->left = length ? strtoul(length, NULL, 10) : 0;
	h->complete = !h->chunked && h->left == 0;
	const char *type = http_header(h, "content-type", value, sizeof(value));
	h->bson = type && strstr(type, "bson-stream");
}

static enum got http_read_head(struct http *h, int64_t deadline)
{
	while (h->status == 0) {
		char *end = h->wire.in.n ? memmem(h->wire.in.p, h->wire.in.n, "\r\n\r\n", 4) : NULL;
		if (!end) {
			enum got got = wire_fill(&h->wire, deadline);
			if (got != GOT_IT)
				return got;
			continue;
		}
		size_t n = (size_t)(end - h->wire.in.p) + 2;
		snprintf(h->head, sizeof(h->head), "%.*s", (int)n, h->wire.in.p);
		h->wire.at = n + 2;
		h->status = atoi(h->head + strlen("HTTP/1.1 "));
		http_begin_body(h);
	}
	return GOT_IT;
}

static void http_decode(struct http *h, const char *p, size_t n)
{
	if (h->inflate) {
		h->inflate->next_in = (Bytef *)(uintptr_t)p;
		h->inflate->avail_in = (uInt)n;
		int result = Z_OK;
		while (result == Z_OK && (h->inflate->avail_in || h->inflate->avail_out == 0)) {
			h->inflate->next_out = (Bytef *)buf_reserve(&h->body, 65536);
			h->inflate->avail_out = 65536;
			result = inflate(h->inflate, Z_SYNC_FLUSH);
			h->body.n += 65536 - h->inflate->avail_out;
		}
	} else if (h->zstd) {
		ZSTD_inBuffer in = {p, n, 0};
		bool full = true;
		while (in.pos < in.size || full) {
			ZSTD_outBuffer out = {buf_reserve(&h->body, 65536), 65536, 0};
			if (ZSTD_isError(ZSTD_decompressStream(h->zstd, &out, &in)))
				break;
			h->body.n += out.pos;
			full = out.pos == out.size;
		}
	} else {
		buf_append(&h->body, p, n);
	}
}

/* Decodes what has come. */
static void http_pump(struct http *h)
{
	struct wire *w = &h->wire;
	while (!h->complete && w->at < w->in.n) {
		if (h->chunked && h->left == 0) {
			const char *from = w->in.p + w->at, *end = memmem(from, w->in.n - w->at, "\r\n", 2);
			if (end == from && w->in.n - w->at >= 2) { /* of the chunk before */
				w->at += 2;
				continue;
			}
			if (!end)
				return;
			h->left = strtoul(from, NULL, 16);
			w->at = (size_t)(end - w->in.p) + 2;
			h->complete = h->left == 0;
			continue;
		}
		size_t n = w->in.n - w->at < h->left ? w->in.n - w->at : h->left;
		http_decode(h, w->in.p + w->at, n);
		w->at += n;
		h->left -= n;
		h->complete = !h->chunked && h->left == 0;
	}
}

/* The next line that is whole, taken off the body. */
static json_t *http_take_line(struct http *h)
{
	const char *p = h->body.p + h->line_at;
	size_t have = h->body.n - h->line_at, n;
	json_t *line;
	if (h->bson) {
		uint32_t size;
		if (have < 4 || (memcpy(&size, p, 4), have < size))
			return NULL;
		struct buf text = {0};
		bool ok = bson_to_json(slice_make(p, size), &text);
		line = ok ? json_loadb(text.p, text.n, JSON_ALLOW_NUL, NULL) : json_string("(bad BSON)");
		buf_free(&text);
		n = size;
	} else {
		const char *end = have ? memchr(p, '\n', have) : NULL;
		if (!end)
			return NULL;
		n = (size_t)(end - p) + 1;
		line = json_loadb(p, n, JSON_ALLOW_NUL, NULL);
	}
	h->line_at += n;
	return line ? line : json_string("(bad JSON)");
}

static enum got http_line(struct http *h, int64_t deadline, json_t **out)
{
	enum got got = http_read_head(h, deadline);
	while (got == GOT_IT) {
		http_pump(h);
		if ((*out = http_take_line(h)))
			return GOT_IT;
		if (h->complete)
			return GOT_END;
		got = wire_fill(&h->wire, deadline);
	}
	return got;
}

/* ---- WebSocket ------------------------------------------------------------------------------------------------------------------ */

struct websocket {
	struct wire wire;
	bool closed;
	int close_code; /* 1005: a close frame without a code; 0: none came */
};

static bool ws_open(struct websocket *w, int port, const char *path)
{
	struct buf b = {0};
	if (!wire_open(&w->wire, port))
		return false;
	buf_printf(
	        &b,
	        "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
	        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
	        path);
	wire_send(&w->wire, b.p, b.n);
	buf_free(&b);
	int64_t deadline = clock_mono_ms() + PATIENCE_MS;
	char *end = NULL;
	while (!end) {
		if (wire_fill(&w->wire, deadline) != GOT_IT)
			return false;
		end = memmem(w->wire.in.p, w->wire.in.n, "\r\n\r\n", 4);
	}
	w->wire.at = (size_t)(end - w->wire.in.p) + 4;
	return memmem(w->wire.in.p, w->wire.at, " 101 ", 5) &&
	       memmem(w->wire.in.p, w->wire.at, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28);
}

static void ws_send_binary(struct websocket *w, const void *p, size_t n)
{
	unsigned char head[14] = {0x82};
	size_t k = 2;
	if (n < 126) {
		head[1] = (unsigned char)(0x80 | n);
	} else {
		head[1] = 0x80 | 126;
		head[2] = (unsigned char)(n >> 8);
		head[3] = (unsigned char)n;
		k = 4;
	}
	wire_send(&w->wire, head, k + 4); /* a mask of zeroes is one, too */
	wire_send(&w->wire, p, n);
}

/* The next RSocket frame; valid until the next call. */
static enum got ws_frame(struct websocket *w, int64_t deadline, struct slice *out)
{
	for (;;) {
		const unsigned char *p = (const unsigned char *)w->wire.in.p + w->wire.at;
		size_t have = w->wire.in.n - w->wire.at, head = 2;
		uint64_t n = have >= 2 ? p[1] & 127 : 0;
		if (have >= 4 && n == 126) {
			n = (uint64_t)p[2] << 8 | p[3];
			head = 4;
		} else if (have >= 10 && n == 127) {
			n = 0;
			for (int i = 2; i < 10; i++)
				n = n << 8 | p[i];
			head = 10;
		}
		bool long_head = have < 2 || ((p[1] & 127) == 126 && have < 4) || ((p[1] & 127) == 127 && have < 10);
		if (long_head || have < head + n) {
			enum got got = w->closed ? GOT_END : wire_fill(&w->wire, deadline);
			if (got != GOT_IT)
				return got;
			continue;
		}
		w->wire.at += head + n;
		if ((p[0] & 15) == 8) {
			w->closed = true;
			w->close_code = n >= 2 ? p[head] << 8 | p[head + 1] : 1005;
			return GOT_END;
		}
		*out = slice_make(p + head, n);
		if ((p[0] & 15) == 2)
			return GOT_IT;
	}
}

#endif
