/* test_pgoutput.c: the decoder on messages as a server sends them, whole and cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "source/postgres/pgoutput.h"

static struct arena arena;

static struct pgoutput_event decode(const char *bytes, size_t n)
{
	struct pgoutput_event e;
	struct error err = {0};
	if (!pgoutput_decode(slice_make(bytes, n), &arena, &e, &err))
		fail_msg("%s", err.message);
	return e;
}

#define DECODE(lit) decode(lit, sizeof(lit) - 1)

static const char begin[] = "B\x00\x00\x00\x00\x01\x96\x3a\x88\x00\x02\xee\xb0\x1f\x0c\x44\x00\x00\x00\x02\xf1";
static const char commit[] =
        "C\x00\x00\x00\x00\x00\x01\x96\x3a\x88\x00\x00\x00\x00\x01\x96\x3a\xb8\x00\x02\xee\xb0\x1f\x0c\x44\x00";
/* public.t (id int4 key, v numeric(5,2)) */
static const char relation[] = "R\x00\x00\x40\x09public\x00t\x00\x64\x00\x02\x01id\x00\x00\x00\x00\x17\xff\xff\xff\xff\x00v\x00"
                               "\x00\x00\x06\xa4\x00\x05\x00\x06";
static const char insert[] = "I\x00\x00\x40\x09N\x00\x03t\x00\x00\x00\x02\x31\x32nu";
static const char update[] = "U\x00\x00\x40\x09K\x00\x02t\x00\x00\x00\x01\x31nN\x00\x02t\x00\x00\x00\x01\x32t\x00\x00\x00\x00";
static const char update_full[] = "U\x00\x00\x40\x09O\x00\x01t\x00\x00\x00\x01\x31N\x00\x01t\x00\x00\x00\x01\x32";
static const char update_plain[] = "U\x00\x00\x40\x09N\x00\x01t\x00\x00\x00\x01\x32";
static const char delete[] = "D\x00\x00\x40\x09K\x00\x01t\x00\x00\x00\x01\x31";
static const char truncated[] = "T\x00\x00\x00\x02\x03\x00\x00\x40\x09\x00\x00\x40\x0a";
static const char message[] = "M\x01\x00\x00\x00\x00\x01\x96\x3a\x88powersync\x00\x00\x00\x00\x04ping";
static const char type[] = "Y\x00\x00\x40\x0apublic\x00mood\x00";
static const char origin[] = "O\x00\x00\x00\x00\x01\x96\x3a\x88other\x00";

static const struct {
	const char *bytes;
	size_t n;
} all[] = {
        {begin, sizeof(begin) - 1},         {commit, sizeof(commit) - 1},
        {relation, sizeof(relation) - 1},   {insert, sizeof(insert) - 1},
        {update, sizeof(update) - 1},       {update_full, sizeof(update_full) - 1},
        {delete, sizeof(delete) - 1},       {update_plain, sizeof(update_plain) - 1},
        {truncated, sizeof(truncated) - 1}, {message, sizeof(message) - 1},
        {type, sizeof(type) - 1},           {origin, sizeof(origin) - 1},
};

static void transactions_are_decoded(void **state)
{
	(void)state;
	struct stream_event e = DECODE(begin).event;
	assert_int_equal(e.kind, STREAM_BEGIN);
	assert_int_equal(e.xid, 0x2f1);
	assert_int_equal(e.final_lsn, 0x1963a88);
	assert_int_equal(e.commit_time_ms, (INT64_C(0x0002eeb01f0c4400) + INT64_C(946684800000000)) / 1000);
	e = DECODE(commit).event;
	assert_int_equal(e.kind, STREAM_COMMIT);
	assert_int_equal(e.final_lsn, 0x1963a88);
	assert_int_equal(e.lsn, 0x1963ab8);
}

static void a_relation_is_decoded(void **state)
{
	(void)state;
	struct source_relation r = DECODE(relation).event.relation;
	assert_int_equal(r.oid, 0x4009);
	assert_true(slice_eq(r.schema, SLICE("public")));
	assert_true(slice_eq(r.name, SLICE("t")));
	assert_int_equal(r.replica_identity, 'd');
	assert_int_equal(r.column_count, 2);
	assert_true(slice_eq(r.columns[0].name, SLICE("id")));
	assert_true(r.columns[0].in_key);
	assert_int_equal(r.columns[0].type_oid, 23);
	assert_int_equal(r.columns[0].type_modifier, -1);
	assert_false(r.columns[1].in_key);
	assert_int_equal(r.columns[1].type_oid, 1700);
	assert_int_equal(r.columns[1].type_modifier, 0x50006);
	r = DECODE("R\x00\x00\x40\x09\x00t\x00\x66\x00\x00").event.relation;
	assert_true(slice_eq(r.schema, SLICE("pg_catalog")));
}

static void rows_are_decoded(void **state)
{
	(void)state;
	struct pgoutput_event p = DECODE(insert);
	assert_int_equal(p.event.kind, STREAM_INSERT);
	assert_int_equal(p.event.oid, 0x4009);
	assert_int_equal(p.new_count, 3);
	assert_null(p.event.old_row);
	assert_int_equal(p.event.new_row[0].kind, RAW_TEXT);
	assert_true(slice_eq(p.event.new_row[0].text, SLICE("12")));
	assert_int_equal(p.event.new_row[1].kind, RAW_NULL);
	assert_int_equal(p.event.new_row[2].kind, RAW_UNCHANGED);
	p = DECODE(update);
	assert_int_equal(p.event.kind, STREAM_UPDATE);
	assert_true(p.event.old_is_key);
	assert_int_equal(p.old_count, 2);
	assert_true(slice_eq(p.event.old_row[0].text, SLICE("1")));
	assert_int_equal(p.event.new_row[1].kind, RAW_TEXT);
	assert_int_equal(p.event.new_row[1].text.n, 0);
	p = DECODE(update_full);
	assert_non_null(p.event.old_row);
	assert_false(p.event.old_is_key);
	p = DECODE(update_plain);
	assert_null(p.event.old_row);
	p = DECODE(delete);
	assert_int_equal(p.event.kind, STREAM_DELETE);
	assert_null(p.event.new_row);
	assert_non_null(p.event.old_row);
}

static void truncates_and_messages_are_decoded(void **state)
{
	(void)state;
	struct stream_event e = DECODE(truncated).event;
	assert_int_equal(e.kind, STREAM_TRUNCATE);
	assert_int_equal(e.truncated_count, 2);
	assert_int_equal(e.truncated[1], 0x400a);
	e = DECODE(message).event;
	assert_int_equal(e.kind, STREAM_MESSAGE);
	assert_true(e.marker && e.transactional);
	assert_int_equal(e.lsn, 0x1963a88);
	e = DECODE("M\x00\x00\x00\x00\x00\x01\x96\x3a\x88powersync\x00\x00\x00\x00\x04pong").event;
	assert_false(e.marker || e.transactional);
	assert_true(DECODE(type).ignored);
	assert_true(DECODE(origin).ignored);
}

static void every_cut_or_longer_message_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		char longer[256];
		struct pgoutput_event e;
		struct error err = {0};
		for (size_t n = 0; n < all[i].n; n++) {
			char *cut = malloc(n ? n : 1); /* of its own, so that a read behind it is noticed */
			memcpy(cut, all[i].bytes, n);
			assert_false(pgoutput_decode(slice_make(cut, n), &arena, &e, &err));
			assert_true(err.message[0] != '\0');
			free(cut);
		}
		memcpy(longer, all[i].bytes, all[i].n);
		longer[all[i].n] = 'n';
		assert_false(pgoutput_decode(slice_make(longer, all[i].n + 1), &arena, &e, &err));
	}
}

static void nonsense_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
	} cases[] = {
	        {"Z", 1},
	        {"\0", 1},
	        {"I\x00\x00\x40\x09K\x00\x00", 8},  /* insert with an old tuple */
	        {"D\x00\x00\x40\x09N\x00\x00", 8},  /* delete with a new one */
	        {"I\x00\x00\x40\x09N\x00\x01x", 9}, /* unknown kind of value */
	        {"I\x00\x00\x40\x09N\x00\x01"
	         "b\x00\x00\x00\x00",
	         13},                                                /* binary */
	        {"I\x00\x00\x40\x09N\x00\x01t\xff\xff\xff\xff", 13}, /* longer than the message */
	        {"I\x00\x00\x40\x09N\xff\xff", 8},                   /* more columns than bytes */
	        {"T\xff\xff\xff\xff\x00", 6},
	        {"R\x00\x00\x40\x09p\x00t\x00\x64\xff\xff", 12},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pgoutput_event e;
		struct error err = {0};
		assert_false(pgoutput_decode(slice_make(cases[i].bytes, cases[i].n), &arena, &e, &err));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(transactions_are_decoded),
	        cmocka_unit_test(a_relation_is_decoded),
	        cmocka_unit_test(rows_are_decoded),
	        cmocka_unit_test(truncates_and_messages_are_decoded),
	        cmocka_unit_test(every_cut_or_longer_message_is_refused),
	        cmocka_unit_test(nonsense_is_refused),
	};
	int failed = cmocka_run_group_tests_name("source: pgoutput", tests, NULL, NULL);
	arena_free(&arena);
	return failed;
}
