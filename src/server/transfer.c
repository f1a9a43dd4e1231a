/* transfer.c: gzip of independent blocks, zstd from a bounded pool; see transfer.h. */
#include "server/transfer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/alloc.h"

#define GZIP_LEVEL 1
#define GZIP_MEMORY 8
#define ZSTD_LEVEL 1
#define ZSTD_WINDOW_LOG 15
#define ZSTD_STORED_MAX (1 << ZSTD_WINDOW_LOG) /* a block is at most as long as the window */
#define IDLE_MS 10000                          /* a step after so long a pause finds the stream idle */
#define IDLE_BYTES 1024                        /* if it has no more than a keep-alive to say */

struct deflater {
	struct deflater *next;
	z_stream z;
};

struct transfer_codings {
	pthread_mutex_t lock;
	struct deflater *deflaters; /* not in use; at most as many as there are workers */
	ZSTD_CCtx **contexts;       /* not in use */
	size_t context_count;
	size_t zstd_left; /* how many streams may still take one */
};

struct transfer {
	struct transfer_codings *codings;
	enum content_coding coding;
	bool begun;
	/* gzip */
	uint32_t crc, length;
	/* zstd; NULL: only stored blocks follow */
	ZSTD_CCtx *context;
	int64_t busy_ms;
};

/* ---- what is shared ------------------------------------------------------------------------------------------------------------------ */

struct transfer_codings *transfer_codings_new(size_t zstd_contexts)
{
	struct transfer_codings *c = xcalloc(1, sizeof(*c));
	pthread_mutex_init(&c->lock, NULL);
	c->contexts = xcalloc(zstd_contexts + 1, sizeof(ZSTD_CCtx *));
	c->zstd_left = zstd_contexts;
	return c;
}

void transfer_codings_free(struct transfer_codings *c)
{
	if (!c)
		return;
	for (struct deflater *d = c->deflaters, *next; d; d = next) {
		next = d->next;
		deflateEnd(&d->z);
		free(d);
	}
	for (size_t i = 0; i < c->context_count; i++)
		ZSTD_freeCCtx(c->contexts[i]);
	free(c->contexts);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static struct deflater *take_deflater(struct transfer_codings *c)
{
	pthread_mutex_lock(&c->lock);
	struct deflater *d = c->deflaters;
	if (d)
		c->deflaters = d->next;
	pthread_mutex_unlock(&c->lock);
	if (d) {
		deflateReset(&d->z);
		return d;
	}
	d = xcalloc(1, sizeof(*d));
	if (deflateInit2(&d->z, GZIP_LEVEL, Z_DEFLATED, -MAX_WBITS, GZIP_MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
		abort(); /* only for lack of memory */
	return d;
}

static void return_deflater(struct transfer_codings *c, struct deflater *d)
{
	pthread_mutex_lock(&c->lock);
	d->next = c->deflaters;
	c->deflaters = d;
	pthread_mutex_unlock(&c->lock);
}

/* NULL: the pool is used up. */
static ZSTD_CCtx *take_context(struct transfer_codings *c)
{
	ZSTD_CCtx *context = NULL;
	pthread_mutex_lock(&c->lock);
	bool allowed = c->zstd_left > 0;
	if (allowed) {
		c->zstd_left--;
		if (c->context_count)
			context = c->contexts[--c->context_count];
	}
	pthread_mutex_unlock(&c->lock);
	if (!allowed)
		return NULL;
	if (!context && !(context = ZSTD_createCCtx()))
		abort();
	ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
	ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, ZSTD_LEVEL);
	ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, ZSTD_WINDOW_LOG);
	return context;
}

static void return_context(struct transfer *t)
{
	struct transfer_codings *c = t->codings;
	if (!t->context)
		return;
	pthread_mutex_lock(&c->lock);
	c->contexts[c->context_count++] = t->context;
	c->zstd_left++;
	pthread_mutex_unlock(&c->lock);
	t->context = NULL;
}

/* ---- a stream's ------------------------------------------------------------------------------------------------------------------------ */

const char *content_coding_name(enum content_coding coding)
{
	return coding == CODING_GZIP ? "gzip" : coding == CODING_ZSTD ? "zstd" : NULL;
}

enum content_coding transfer_coding(const struct transfer *t)
{
	return t ? t->coding : CODING_IDENTITY;
}

struct transfer *transfer_new(struct transfer_codings *c, enum content_coding coding, bool gzip_too)
{
	ZSTD_CCtx *context = coding == CODING_ZSTD ? take_context(c) : NULL;
	if (coding == CODING_ZSTD && !context)
		coding = gzip_too ? CODING_GZIP : CODING_IDENTITY;
	if (coding == CODING_IDENTITY)
		return NULL;
	struct transfer *t = xcalloc(1, sizeof(*t));
	*t = (struct transfer){.codings = c, .coding = coding, .context = context};
	return t;
}

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	return_context(t);
	free(t);
}

/* ---- gzip ------------------------------------------------------------------------------------------------------------------------------ */

static void deflate_piece(z_stream *z, struct slice piece, int flush, struct buf *out)
{
	z->next_in = (Bytef *)(uintptr_t)piece.p;
	z->avail_in = (uInt)piece.n;
	do {
		size_t room = piece.n / 2 + 256;
		z->next_out = (Bytef *)buf_reserve(out, room);
		z->avail_out = (uInt)room;
		deflate(z, flush);
		out->n += room - z->avail_out;
	} while (z->avail_out == 0);
}

static void append_le32(struct buf *out, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		buf_putc(out, (char)(v >> (8 * i)));
}

static void gzip(struct transfer *t, const struct slice *pieces, size_t count, bool last, struct buf *out)
{
	static const char head[10] = "\x1f\x8b\x08\0\0\0\0\0\0\xff", end[2] = "\x03\0"; /* an empty final block */
	if (!t->begun)
		buf_append(out, head, sizeof(head));
	if (count) {
		struct deflater *d = take_deflater(t->codings);
		for (size_t i = 0; i < count; i++) {
			t->crc = (uint32_t)crc32_z(t->crc, (const Bytef *)pieces[i].p, pieces[i].n);
			t->length += (uint32_t)pieces[i].n;
			deflate_piece(&d->z, pieces[i], i + 1 == count ? Z_FULL_FLUSH : Z_NO_FLUSH, out);
		}
		return_deflater(t->codings, d);
	}
	if (!last)
		return;
	buf_append(out, end, sizeof(end));
	append_le32(out, t->crc);
	append_le32(out, t->length);
}

/* ---- zstd ------------------------------------------------------------------------------------------------------------------------------ */

static void zstd_piece(ZSTD_CCtx *context, struct slice piece, ZSTD_EndDirective end, struct buf *out)
{
	ZSTD_inBuffer in = {piece.p, piece.n, 0};
	size_t left;
	do {
		size_t room = piece.n / 2 + 256;
		ZSTD_outBuffer to = {buf_reserve(out, room), room, 0};
		left = ZSTD_compressStream2(context, &to, &in, end);
		if (ZSTD_isError(left))
			abort(); /* only for lack of memory: input is never refused */
		out->n += to.pos;
	} while (end == ZSTD_e_continue ? in.pos < in.size : left > 0);
}

/* RFC 8878 3.1.1.2: three bytes, little-endian: last, type 0 (raw), size. */
static void stored_head(struct buf *out, size_t n, bool last)
{
	uint32_t word = (uint32_t)n << 3 | (last ? 1 : 0);
	for (int i = 0; i < 3; i++)
		buf_putc(out, (char)(word >> (8 * i)));
}

static void stored(struct slice piece, struct buf *out)
{
	while (piece.n) {
		size_t n = piece.n < ZSTD_STORED_MAX ? piece.n : ZSTD_STORED_MAX;
		stored_head(out, n, false);
		buf_append(out, piece.p, n);
		piece = slice_drop(piece, n);
	}
}

static void zstd(struct transfer *t, const struct slice *pieces, size_t count, bool last, struct buf *out)
{
	for (size_t i = 0; i < count; i++)
		if (!t->context)
			stored(pieces[i], out);
		else
			zstd_piece(t->context, pieces[i], i + 1 == count && !last ? ZSTD_e_flush : ZSTD_e_continue, out);
	if (last && t->context)
		zstd_piece(t->context, SLICE(""), ZSTD_e_end, out);
	else if (last)
		stored_head(out, 0, true);
}

/* ---- encoding ---------------------------------------------------------------------------------------------------------------------------- */

static void encode(struct transfer *t, const struct slice *pieces, size_t count, bool last, struct buf *out)
{
	if (t->coding == CODING_GZIP)
		gzip(t, pieces, count, last, out);
	else
		zstd(t, pieces, count, last, out);
	t->begun = true;
}

static void replace_blocks(struct session_output *out, const struct buf *encoded)
{
	struct block *b = block_new(encoded->n);
	memcpy(b->bytes, encoded->p, encoded->n);
	b->n = encoded->n;
	b->line_count = (uint32_t)out->lines;
	for (size_t i = 0; i < out->count; i++)
		block_unref(out->blocks[i]);
	if (!out->blocks)
		out->blocks = xgrow(NULL, 0, &out->cap, sizeof(*out->blocks));
	out->blocks[0] = b;
	out->count = 1;
	out->bytes = encoded->n;
}

void transfer_encode(struct transfer *t, struct session_output *out, bool last, bool idle, int64_t now_ms)
{
	if (out->count == 0 && !last)
		return;
	struct buf encoded = {0};
	size_t plain = 0;
	struct slice *pieces = xmalloc(sizeof(*pieces) * (out->count + 1));
	for (size_t i = 0; i < out->count; i++) {
		pieces[i] = slice_make(out->blocks[i]->bytes, out->blocks[i]->n);
		plain += pieces[i].n;
	}
	encode(t, pieces, out->count, last, &encoded);
	free(pieces);
	replace_blocks(out, &encoded);
	buf_free(&encoded);
	if (last || (idle && t->context && plain <= IDLE_BYTES && t->busy_ms && now_ms - t->busy_ms >= IDLE_MS))
		return_context(t);
	t->busy_ms = now_ms;
}

void transfer_encode_body(struct transfer *t, struct buf *body)
{
	struct buf encoded = {0};
	struct slice piece = buf_slice(body);
	encode(t, &piece, 1, true, &encoded);
	buf_free(body);
	*body = encoded;
}
