/* test_encode.c: lines byte for byte, in both encodings (sync-protocol 4; the BSON documents of traces 13 and 25). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sync/encode.h"

static const uint8_t uuid[16] = {0x3b, 0xbb, 0x51, 0x12, 0xc4, 0x96, 0x51, 0xfb, 0xbc, 0xdc, 0x6f, 0x41, 0xc0, 0x54, 0xbc, 0x14};

static void assert_text(struct buf *b, const char *expected)
{
	buf_putc(b, '\0');
	assert_string_equal(b->p, expected);
	buf_free(b);
}

/* Blanks in the expected hex are skipped. */
static void assert_hex(struct buf *b, const char *expected)
{
	struct buf hex = {0}, plain = {0};
	for (size_t i = 0; i < b->n; i++)
		buf_printf(&hex, "%02x", (unsigned char)b->p[i]);
	for (const char *p = expected; *p; p++)
		if (*p != ' ')
			buf_putc(&plain, *p);
	buf_putc(&hex, '\0');
	buf_putc(&plain, '\0');
	assert_string_equal(hex.p, plain.p);
	buf_free(&hex);
	buf_free(&plain);
	buf_free(b);
}

static void test_complete(void **state)
{
	(void)state;
	struct buf b = {0};
	encode_complete(ENCODING_NDJSON, &b, 10, -1);
	assert_text(&b, "{\"checkpoint_complete\":{\"last_op_id\":\"10\"}}\n");
	encode_complete(ENCODING_NDJSON, &b, UINT64_MAX, 0);
	assert_text(&b, "{\"partial_checkpoint_complete\":{\"last_op_id\":\"18446744073709551615\",\"priority\":0}}\n");
	encode_complete(ENCODING_BSON, &b, 10, -1);
	assert_hex(
	        &b,
	        "32000000 03 636865636b706f696e745f636f6d706c65746500 18000000 02 6c6173745f6f705f696400 03000000 313000 00 00");
	encode_complete(ENCODING_BSON, &b, 18, 1);
	assert_hex(
	        &b,
	        "48000000037061727469616c5f636865636b706f696e745f636f6d706c6574650026000000026c6173745f6f705f69640003000000313800"
	        "107072696f7269747900010000000000");
}

static void test_token_expires_in(void **state)
{
	(void)state;
	struct buf b = {0};
	encode_token_expires_in(ENCODING_NDJSON, &b, 3580);
	assert_text(&b, "{\"token_expires_in\":3580}\n");
	encode_token_expires_in(ENCODING_BSON, &b, 0);
	assert_hex(&b, "1b000000 10 746f6b656e5f657870697265735f696e00 00000000 00");
}

static void test_checkpoint(void **state)
{
	(void)state;
	struct bucket_reason reasons[2] = {{.is_default = false, .index = 0}, {.is_default = true, .index = 0}};
	struct line_bucket bucket = {SLICE("1#by\"x|0[\"t\"]"), 3805698481u, 3, 1, reasons, 2};
	struct resolved_stream_error errors[2] = {{.is_default = true, .message = SLICE("a\"b")},
	                                          {.subscription = 7, .message = SLICE("c")}};
	struct resolved_stream streams[2] = {{SLICE("lists"), true, NULL, 0}, {SLICE("e"), false, errors, 2}};
	struct checkpoint_line line = {
	        .last_op_id = 5,
	        .write_checkpoint = 7,
	        .buckets = &bucket,
	        .bucket_count = 1,
	        .streams = streams,
	        .stream_count = 2,
	};
	struct buf b = {0};
	encode_checkpoint(ENCODING_NDJSON, &b, &line);
	assert_text(&b, "{\"checkpoint\":{\"last_op_id\":\"5\",\"write_checkpoint\":\"7\",\"buckets\":[{\"bucket\":\"1#by\\\"x|0["
	                "\\\"t\\\"]\","
	                "\"checksum\":-489268815,\"count\":3,\"priority\":1,\"subscriptions\":[{\"sub\":0},{\"default\":0}]}],"
	                "\"streams\":[{\"name\":\"lists\",\"is_default\":true,\"errors\":[]},{\"name\":\"e\",\"is_default\":"
	                "false,\"errors\":["
	                "{\"subscription\":\"default\",\"message\":\"a\\\"b\"},{\"subscription\":7,\"message\":\"c\"}]}]}}\n");
	line = (struct checkpoint_line){0};
	encode_checkpoint(ENCODING_NDJSON, &b, &line);
	assert_text(&b, "{\"checkpoint\":{\"last_op_id\":\"0\",\"buckets\":[],\"streams\":[]}}\n");
}

static void test_checkpoint_diff(void **state)
{
	(void)state;
	struct slice removed[2] = {SLICE("1#a[]"), SLICE("1#b[]")};
	struct checkpoint_line line = {.diff = true, .last_op_id = 10, .removed = removed, .removed_count = 2};
	struct buf b = {0};
	encode_checkpoint(ENCODING_NDJSON, &b, &line);
	assert_text(&b, "{\"checkpoint_diff\":{\"last_op_id\":\"10\",\"removed_buckets\":[\"1#a[]\",\"1#b[]\"],\"updated_"
	                "buckets\":[]}}\n");
	struct bucket_reason reason = {.is_default = true};
	struct line_bucket bucket = {SLICE("1#lists|0[]"), 1562286571, 4, 3, &reason, 1};
	line = (struct checkpoint_line){.diff = true, .last_op_id = 4, .buckets = &bucket, .bucket_count = 1};
	encode_checkpoint(ENCODING_BSON, &b, &line);
	assert_hex(&b, "c900000003636865636b706f696e745f6469666600b3000000026c6173745f6f705f6964000200000034000472656d6f7665645f6"
	               "275636b657473"
	               "00050000000004757064617465645f6275636b65747300750000000330006d000000026275636b6574000c00000031236c6973747"
	               "37c305b5d00"
	               "10636865636b73756d00eb991e5d10636f756e740004000000107072696f72697479000300000004737562736372697074696f6e7"
	               "3001a000000"
	               "033000120000001064656661756c740000000000000000000000");
}

static void test_bson_checkpoint(void **state)
{
	(void)state;
	struct bucket_reason reason = {.is_default = true};
	struct line_bucket bucket = {SLICE("1#lists|0[]"), (uint32_t)-1206337435, 3, 3, &reason, 1};
	struct resolved_stream stream = {SLICE("lists"), true, NULL, 0};
	struct checkpoint_line line = {
	        .last_op_id = 3, .buckets = &bucket, .bucket_count = 1, .streams = &stream, .stream_count = 1};
	struct buf b = {0};
	encode_checkpoint(ENCODING_BSON, &b, &line);
	assert_hex(
	        &b,
	        "e600000003636865636b706f696e7400d5000000026c6173745f6f705f696400020000003300046275636b65747300750000000330006d00"
	        "000002"
	        "6275636b6574000c00000031236c697374737c305b5d0010636865636b73756d0065c018b810636f756e740003000000107072696f726974"
	        "7900"
	        "0300000004737562736372697074696f6e73001a000000033000120000001064656661756c740000000000000000000473747265616d7300"
	        "3700"
	        "00000330002f000000026e616d6500060000006c69737473000869735f64656661756c740001046572726f727300050000000000000000");
}

static void encode_data(struct buf *b, enum line_encoding encoding, enum operations_form form, const struct op_view *ops,
                        uint32_t count, const struct data_line *line)
{
	struct buf list = {0};
	for (uint32_t i = 0; i < count; i++)
		encode_operation(form, &list, i, &ops[i]);
	encode_data_head(encoding, b, line, list.n);
	buf_slice_append(b, buf_slice(&list));
	encode_data_tail(encoding, b, line);
	buf_free(&list);
}

static const struct op_view ops[] = {
        {.op_id = 1,
         .kind = OP_PUT,
         .checksum = 4151314521u,
         .object_type = SLICE_INIT("lists"),
         .object_id = SLICE_INIT("l1"),
         .data = SLICE_INIT("{\"id\":\"l1\",\"n\":9007199254740993,\"r\":2.0}"),
         .subkey_table = "96416615-53c7-4088-bca6-5d1abe04b93a",
         .subkey_uuid = uuid},
        {.op_id = 2,
         .kind = OP_REMOVE,
         .checksum = 5,
         .object_type = SLICE_INIT("lists"),
         .object_id = SLICE_INIT("l\"2"),
         .subkey_table = "t",
         .subkey_uuid = uuid},
        {.op_id = 3, .kind = OP_MOVE, .checksum = 6},
        {.op_id = 4, .kind = OP_CLEAR, .checksum = 4294967295u},
};

static void test_data_as_text_and_nested(void **state)
{
	(void)state;
	struct data_line line = {.bucket = SLICE("1#lists|0[]"), .after = 0, .next_after = 4, .has_more = true};
	struct buf b = {0};
	const char *head = "{\"data\":{\"bucket\":\"1#lists|0[]\",\"after\":\"0\",\"has_more\":true,\"data\":[{\"op_id\":\"1\","
	                   "\"op\":\"PUT\","
	                   "\"object_type\":\"lists\",\"object_id\":\"l1\",\"checksum\":4151314521,"
	                   "\"subkey\":\"96416615-53c7-4088-bca6-5d1abe04b93a/3bbb5112-c496-51fb-bcdc-6f41c054bc14\",\"data\":";
	const char *tail =
	        "},{\"op_id\":\"2\",\"op\":\"REMOVE\",\"object_type\":\"lists\",\"object_id\":\"l\\\"2\",\"checksum\":5,"
	        "\"subkey\":\"t/"
	        "3bbb5112-c496-51fb-bcdc-6f41c054bc14\",\"data\":null},{\"op_id\":\"3\",\"op\":\"MOVE\",\"checksum\":6},"
	        "{\"op_id\":\"4\",\"op\":\"CLEAR\",\"checksum\":4294967295}],\"next_after\":\"4\"}}\n";
	char expected[2048];
	encode_data(&b, ENCODING_NDJSON, FORM_JSON_TEXT, ops, 4, &line);
	snprintf(expected, sizeof(expected), "%s%s%s", head,
	         "\"{\\\"id\\\":\\\"l1\\\",\\\"n\\\":9007199254740993,\\\"r\\\":2.0}\"", tail);
	assert_text(&b, expected);
	encode_data(&b, ENCODING_NDJSON, FORM_JSON_NESTED, ops, 4, &line);
	snprintf(expected, sizeof(expected), "%s%s%s", head, "{\"id\":\"l1\",\"n\":9007199254740993,\"r\":2.0}", tail);
	assert_text(&b, expected);
}

/* The data document of trace 25 with one operation whose checksum is a double. */
static void test_data_as_bson(void **state)
{
	(void)state;
	static const uint8_t key[16] = {0x1f, 0x23, 0x19, 0x46, 0x17, 0xec, 0x5b, 0x69,
	                                0x9f, 0xe5, 0xdb, 0x7a, 0xdc, 0x3f, 0x94, 0x90};
	const struct op_view op = {.op_id = 4,
	                           .kind = OP_PUT,
	                           .checksum = 2768624006u,
	                           .object_type = SLICE("lists"),
	                           .object_id = SLICE("l4"),
	                           .data = SLICE("{\"id\":\"l4\",\"name\":\"D\"}"),
	                           .subkey_table = "d9b1e292-6240-4f3c-9f6e-ce3535358f52",
	                           .subkey_uuid = key};
	struct data_line line = {.bucket = SLICE("1#lists|0[]"), .after = 3, .next_after = 4};
	struct buf b = {0};
	encode_data(&b, ENCODING_BSON, FORM_BSON, &op, 1, &line);
	assert_hex(
	        &b,
	        "3001000003646174610025010000026275636b6574000c00000031236c697374737c305b5d000261667465720002000000330008686173"
	        "5f6d6f72650000046461746100d8000000033000d0000000026f705f696400020000003400026f70000400000050555400026f626a656374"
	        "5f"
	        "7479706500060000006c6973747300026f626a6563745f696400030000006c340001636865636b73756d000000c030bba0e441027375626b"
	        "65"
	        "79004a00000064396231653239322d363234302d346633632d396636652d6365333533353335386635322f31663233313934362d31376563"
	        "2d"
	        "356236392d396665352d64623761646333663934393000026461746100170000007b226964223a226c34222c226e616d65223a2244227d00"
	        "00"
	        "00026e6578745f6166746572000200000034000000");
}

/* Every document says its own length; array keys count on in two digits. */
static void test_bson_lengths(void **state)
{
	(void)state;
	struct op_view many[12];
	for (size_t i = 0; i < 12; i++)
		many[i] = ops[i % 4];
	struct data_line line = {.bucket = SLICE("b"), .after = 123456, .next_after = 12345678901};
	struct buf b = {0};
	encode_data(&b, ENCODING_BSON, FORM_BSON, many, 12, &line);
	uint32_t size;
	memcpy(&size, b.p, 4);
	assert_int_equal(size, b.n);
	memcpy(&size, b.p + 10, 4); /* length, type, "data", NUL */
	assert_int_equal(size, b.n - 11);
	size_t at = 0;
	while (at + 4 < b.n && memcmp(b.p + at,
	                              "\003"
	                              "11",
	                              4) != 0)
		at++;
	assert_true(at + 4 < b.n);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_complete),        cmocka_unit_test(test_token_expires_in),
	        cmocka_unit_test(test_checkpoint),      cmocka_unit_test(test_checkpoint_diff),
	        cmocka_unit_test(test_bson_checkpoint), cmocka_unit_test(test_data_as_text_and_nested),
	        cmocka_unit_test(test_data_as_bson),    cmocka_unit_test(test_bson_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
