/* Content codings: what was encoded decodes, step by step, as one gzip member or one zstd frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/alloc.h"
#include "server/transfer.h"

struct decoder {
	bool gzip, ended;
	z_stream z;
	ZSTD_DCtx *zstd;
	struct buf plain;
};

static void decoder_init(struct decoder *d, enum content_coding coding)
{
	*d = (struct decoder){.gzip = coding == CODING_GZIP};
	if (d->gzip)
		assert_int_equal(inflateInit2(&d->z, 15 + 16), Z_OK);
	else
		d->zstd = ZSTD_createDCtx();
}

static void decoder_free(struct decoder *d)
{
	if (d->gzip)
		inflateEnd(&d->z);
	ZSTD_freeDCtx(d->zstd);
	buf_free(&d->plain);
}

static void decode(struct decoder *d, const char *p, size_t n)
{
	assert_false(d->ended && n);
	if (d->gzip) {
		d->z.next_in = (Bytef *)(uintptr_t)p;
		d->z.avail_in = (uInt)n;
		int result;
		do {
			d->z.next_out = (Bytef *)buf_reserve(&d->plain, 4096);
			d->z.avail_out = 4096;
			result = inflate(&d->z, Z_SYNC_FLUSH);
			assert_true(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR);
			d->plain.n += 4096 - d->z.avail_out;
		} while (d->z.avail_out == 0);
		assert_int_equal(d->z.avail_in, 0);
		d->ended = result == Z_STREAM_END;
		return;
	}
	ZSTD_inBuffer in = {p, n, 0};
	size_t left = 1;
	for (;;) {
		ZSTD_outBuffer out = {buf_reserve(&d->plain, 4096), 4096, 0};
		left = ZSTD_decompressStream(d->zstd, &out, &in);
		assert_false(ZSTD_isError(left));
		d->plain.n += out.pos;
		if (left == 0 || (in.pos == in.size && out.pos < out.size))
			break;
	}
	assert_int_equal(in.pos, in.size); /* one frame only */
	d->ended = left == 0;
}

static void add(struct session_output *o, const char *p, size_t n)
{
	struct block *b = block_new(n);
	memcpy(b->bytes, p, n);
	b->n = n;
	o->blocks = xgrow(o->blocks, o->count, &o->cap, sizeof(*o->blocks));
	o->blocks[o->count++] = b;
	o->bytes += n;
	o->lines++;
}

static void finish(struct session_output *o, struct decoder *d)
{
	for (size_t i = 0; i < o->count; i++) {
		decode(d, o->blocks[i]->bytes, o->blocks[i]->n);
		block_unref(o->blocks[i]);
	}
	free(o->blocks);
	*o = (struct session_output){0};
}

static void fill(char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = seed % 3 ? "{\"op_id\":\"123\",\"data\":"[(i + seed) % 22] : (char)(rand() >> 7);
}

static void round_trip(enum content_coding coding, int64_t step_ms)
{
	static char bytes[400000];
	struct transfer_codings *c = transfer_codings_new(4);
	for (unsigned round = 0; round < 20; round++) {
		struct transfer *t = transfer_new(c, coding, false);
		struct decoder d;
		decoder_init(&d, coding);
		struct session_output o = {0};
		struct buf want = {0};
		int64_t now = 1000;
		assert_int_equal(transfer_coding(t), coding);
		for (unsigned step = 0; step < round; step++) {
			unsigned blocks = (unsigned)rand() % 4;
			for (unsigned i = 0; i < blocks; i++) {
				size_t n = step % 5 == 4 ? sizeof(bytes) : (size_t)rand() % 900 + 1;
				fill(bytes, n, step + i);
				buf_append(&want, bytes, n);
				add(&o, bytes, n);
			}
			size_t lines = o.lines;
			transfer_encode(t, &o, false, true, now += step_ms);
			assert_true(o.count <= 1);
			assert_int_equal(o.lines, lines);
			finish(&o, &d);
			/* Nothing is kept back. */
			assert_int_equal(d.plain.n, want.n);
		}
		transfer_encode(t, &o, true, false, now);
		finish(&o, &d);
		assert_true(d.ended);
		assert_int_equal(d.plain.n, want.n);
		if (want.n)
			assert_memory_equal(d.plain.p, want.p, want.n);
		transfer_free(t);
		decoder_free(&d);
		buf_free(&want);
	}
	transfer_codings_free(c);
}

static void gzip_decodes_step_by_step(void **state)
{
	(void)state;
	round_trip(CODING_GZIP, 10);
}

static void zstd_decodes_step_by_step(void **state)
{
	(void)state;
	round_trip(CODING_ZSTD, 10);
}

static void zstd_goes_on_with_stored_blocks_after_a_pause(void **state)
{
	(void)state;
	round_trip(CODING_ZSTD, 20000);
}

static void an_idle_stream_gives_its_context_back(void **state)
{
	(void)state;
	struct transfer_codings *c = transfer_codings_new(1);
	struct transfer *a = transfer_new(c, CODING_ZSTD, true);
	struct transfer *b = transfer_new(c, CODING_ZSTD, true), *none = transfer_new(c, CODING_ZSTD, false);
	assert_int_equal(transfer_coding(b), CODING_GZIP);
	assert_null(none);
	struct session_output o = {0};
	struct decoder d;
	decoder_init(&d, CODING_ZSTD);
	add(&o, "abc", 3);
	transfer_encode(a, &o, false, true, 1000);
	finish(&o, &d);
	add(&o, "def", 3);
	transfer_encode(a, &o, false, true, 21000);
	finish(&o, &d);
	struct transfer *second = transfer_new(c, CODING_ZSTD, false);
	assert_int_equal(transfer_coding(second), CODING_ZSTD);
	add(&o, "ghi", 3);
	transfer_encode(a, &o, true, false, 41000);
	finish(&o, &d);
	assert_true(d.ended);
	assert_memory_equal(d.plain.p, "abcdefghi", 9);
	transfer_free(a);
	transfer_free(b);
	transfer_free(second);
	decoder_free(&d);
	transfer_codings_free(c);
}

static void whole_bodies(void **state)
{
	(void)state;
	for (enum content_coding coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
		struct transfer_codings *c = transfer_codings_new(1);
		struct transfer *t = transfer_new(c, coding, false);
		struct decoder d;
		decoder_init(&d, coding);
		struct session_output nothing = {0};
		struct buf body = {0};
		transfer_encode(t, &nothing, false, false, 1);
		assert_int_equal(nothing.count, 0);
		buf_lit(&body, "{\"error\":{}}");
		transfer_encode_body(t, &body);
		decode(&d, body.p, body.n);
		assert_true(d.ended);
		assert_int_equal(d.plain.n, 12);
		buf_free(&body);
		transfer_free(t);
		decoder_free(&d);
		transfer_codings_free(c);
	}
}

static void repetitive_lines_get_smaller(void **state)
{
	(void)state;
	static char bytes[100000];
	for (enum content_coding coding = CODING_GZIP; coding <= CODING_ZSTD; coding++) {
		struct transfer_codings *c = transfer_codings_new(1);
		struct transfer *t = transfer_new(c, coding, false);
		struct decoder d;
		decoder_init(&d, coding);
		struct session_output o = {0};
		fill(bytes, sizeof(bytes), 1);
		add(&o, bytes, sizeof(bytes));
		transfer_encode(t, &o, false, false, 1);
		assert_true(o.bytes < sizeof(bytes) / 4);
		finish(&o, &d);
		transfer_free(t);
		decoder_free(&d);
		transfer_codings_free(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(gzip_decodes_step_by_step),
	        cmocka_unit_test(zstd_decodes_step_by_step),
	        cmocka_unit_test(zstd_goes_on_with_stored_blocks_after_a_pause),
	        cmocka_unit_test(an_idle_stream_gives_its_context_back),
	        cmocka_unit_test(whole_bodies),
	        cmocka_unit_test(repetitive_lines_get_smaller),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
