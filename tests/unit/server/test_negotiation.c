/* Accept and Accept-Encoding: the tables of sync-protocol 3. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "server/negotiate.h"

#define NDJSON ENCODING_NDJSON
#define BSON ENCODING_BSON

static void lines_by_accept(void **state)
{
	(void)state;
	static const struct {
		const char *accept;
		enum line_encoding want;
	} table[] = {
	        {NULL, NDJSON},
	        {"*/*", NDJSON},
	        {"application/json", NDJSON},
	        {"text/html", NDJSON},
	        {"application/*", NDJSON},
	        {"application/x-ndjson", NDJSON},
	        {"application/vnd.powersync.bson-stream", BSON},
	        {"application/vnd.powersync.bson-stream;q=0.9,application/x-ndjson;q=0.8", BSON},
	        {"application/x-ndjson;q=0.9,application/vnd.powersync.bson-stream;q=0.8", NDJSON},
	        {"application/vnd.powersync.bson-stream;q=0.5,*/*;q=0.5", BSON},
	        {"application/vnd.powersync.bson-stream;q=0", NDJSON},
	        {"application/vnd.powersync.bson-stream, application/x-ndjson", BSON},
	        {"application/x-ndjson, application/vnd.powersync.bson-stream", NDJSON},
	        {"*/*, application/vnd.powersync.bson-stream", BSON},
	        {"application/vnd.powersync.bson-stream;q=0.5, application/x-ndjson;q=0.5", BSON},
	        {"application/*;q=0.9, application/vnd.powersync.bson-stream;q=0.8", NDJSON},
	        {"APPLICATION/VND.POWERSYNC.BSON-STREAM", BSON},
	        {"application/vnd.powersync.bson-stream; charset=utf-8", NDJSON},
	        {"application/vnd.powersync.bson-stream;q=0.1, text/html", BSON},
	        {"", NDJSON},
	        {"garbage", NDJSON},
	        {",;,=;q=;", NDJSON},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (negotiate_lines(slice_cstr(table[i].accept)) != table[i].want)
			fail_msg("%s", table[i].accept);
}

static void coding_by_accept_encoding(void **state)
{
	(void)state;
	static const struct {
		const char *accept;
		enum content_coding want;
		bool gzip_too;
	} table[] = {
	        {NULL, CODING_IDENTITY, false},
	        {"gzip", CODING_GZIP, true},
	        {"zstd", CODING_ZSTD, false},
	        {"gzip, zstd", CODING_ZSTD, true},
	        {"gzip;q=1, zstd;q=0.5", CODING_GZIP, true},
	        {"zstd;q=0.5, gzip;q=0.5", CODING_ZSTD, true},
	        {"gzip, deflate, br, zstd", CODING_ZSTD, true},
	        {"gzip, deflate", CODING_GZIP, true},
	        {"br", CODING_IDENTITY, false},
	        {"*", CODING_ZSTD, true},
	        {"deflate", CODING_IDENTITY, false},
	        {"identity", CODING_IDENTITY, false},
	        {"identity;q=0", CODING_IDENTITY, false},
	        {"gzip;q=0", CODING_IDENTITY, false},
	        {"*;q=0", CODING_IDENTITY, false},
	        {"identity;q=1, gzip;q=0.5", CODING_IDENTITY, true},
	};
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		bool gzip_too;
		if (negotiate_coding(slice_cstr(table[i].accept), &gzip_too) != table[i].want || gzip_too != table[i].gzip_too)
			fail_msg("%s", table[i].accept);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lines_by_accept),
	        cmocka_unit_test(coding_by_accept_encoding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
