/*
 * http_request.c (fuzz): a connection's bytes, cut in two ways, through head search, head parser and body reader: no crash, bounded
 * memory, and the same requests whichever way the bytes were cut.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/http_request.h"
#include "server/negotiate.h"

#define LIMIT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct buf log; /* what was understood */
	bool failed;
};

static void note(struct run *run, struct http_request *r)
{
	struct slice value;
	bool bad, gzip_too;
	buf_printf(&run->log, "%.*s %.*s %zu headers, body %zu:", SLICE_ARG(r->method), SLICE_ARG(r->path), r->header_count,
	           r->body.n);
	buf_slice_append(&run->log, buf_slice(&r->body));
	buf_putc(&run->log, http_path_ok(r->path) ? '+' : '-');
	if (http_query(r, SLICE("client_id"), &value, &bad))
		buf_slice_append(&run->log, value);
	buf_putc(&run->log, (char)('0' + negotiate_lines(http_header(r, SLICE("accept")))));
	buf_putc(&run->log, (char)('0' + negotiate_coding(http_header(r, SLICE("accept-encoding")), &gzip_too)));
	assert(r->header_count <= HTTP_MAX_HEADERS);
	assert(r->body.n <= LIMIT);
}

/* As a connection does it: bytes gather, heads are cut off, bodies are fed. */
static void read_all(struct run *run, struct slice bytes, size_t step)
{
	struct http_request r = {0};
	struct buf in = {0};
	size_t scanned = 0;
	bool body = false;
	while (!run->failed && bytes.n) {
		size_t n = step < bytes.n ? step : bytes.n, length, used;
		buf_append(&in, bytes.p, n);
		bytes = slice_drop(bytes, n);
		for (bool more = true; more && !run->failed;) {
			enum http_result result = REQUEST_MORE;
			used = 0;
			if (!body) {
				result = http_find_head(buf_slice(&in), &scanned, &length);
				if (result == REQUEST_HEAD) {
					result = http_parse_head(&r, slice_make(in.p, length));
					used = length;
					scanned = 0;
					body = result == REQUEST_HEAD;
					r.max_body = LIMIT + 1;
					if (body && !r.chunked && r.body_left > LIMIT)
						result = REQUEST_BODY_LARGE;
				}
			} else if (in.n) {
				result = http_feed_body(&r, buf_slice(&in), &used);
			}
			assert(used <= in.n);
			if (used)
				memmove(in.p, in.p + used, in.n - used);
			in.n -= used;
			if (result == REQUEST_COMPLETE) {
				note(run, &r);
				http_request_reset(&r);
				body = false;
			}
			run->failed = result != REQUEST_COMPLETE && result != REQUEST_HEAD && result != REQUEST_MORE;
			more = result == REQUEST_COMPLETE || result == REQUEST_HEAD || (used && in.n);
		}
	}
	http_request_free(&r);
	buf_free(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 60000)
		return 0;
	struct run whole = {0}, cut = {0};
	struct slice bytes = slice_make(data + 1, size - 1);
	read_all(&whole, bytes, bytes.n);
	read_all(&cut, bytes, data[0] % 64 + 1u);
	assert(slice_eq(buf_slice(&whole.log), buf_slice(&cut.log)));
	buf_free(&whole.log);
	buf_free(&cut.log);
	return 0;
}
