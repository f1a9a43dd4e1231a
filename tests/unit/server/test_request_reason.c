/* Why a client waits: one sentence for each case, from no config at all to a client that does not apply what it has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "server/request_reason.h"

static struct request_facts healthy(void)
{
	return (struct request_facts){.active = true,
	                              .served = {0, 0x1000},
	                              .service = SERVICE_KNOWN,
	                              .has_source = true,
	                              .connected = true,
	                              .received = 0x1000,
	                              .source_error = ""};
}

static const struct pending_request ahead = {.id = 43, .head_known = true, .head = {0, 0x3000}}, headless = {.id = 43},
                                    other_era = {.id = 43, .head_known = true, .head = {1, 0x10}};

static struct user_requests waiting(const struct pending_request *p)
{
	return (struct user_requests){.newest_id = 43, .acknowledged_id = 42, .pending = p, .pending_count = 1};
}

static const struct user_requests acknowledged = {.newest_id = 42, .acknowledged_id = 42};

static void expect(const struct request_facts *f, const struct user_requests *u, const char *word, const char *part)
{
	struct buf text = {0};
	assert_string_equal(request_reason(f, u, &text), word);
	buf_append(&text, "", 1);
	if (!strstr(text.p, part))
		fail_msg("'%s' lacks '%s'", text.p, part);
	assert_int_equal(text.p[text.n - 2], '.');
	buf_free(&text);
}

static void lag_is_told_with_its_distance(void **state)
{
	struct request_facts f = healthy();
	struct user_requests u = waiting(&ahead);
	(void)state;
	f.lag_s = 2.5;
	expect(&f, &u, "lag", "Id 43 waits for position 00000000/00003000");
	expect(&f, &u, "lag", "served 00000000/00001000, 8192 bytes before it (oldest change that is not served: 2.5 s)");
	u = waiting(&other_era);
	expect(&f, &u, "lag", "00000000/00000010; replication is behind");
}

static void what_stands_in_the_way_is_told_from_the_outside_in(void **state)
{
	struct request_facts f = healthy();
	struct user_requests u = waiting(&ahead), none = {0};
	(void)state;
	expect(&f, &none, "none", "no request");
	f.reading = true;
	f.received = 0x3000;
	expect(&f, &u, "held", "held back until tables are read");
	f.connected = false;
	expect(&f, &u, "source_down", "the source cannot be reached.");
	f.source_error = "no route";
	expect(&f, &u, "source_down", "cannot be reached: no route.");
	f.has_source = false;
	expect(&f, &u, "no_source", "no source connection is configured");
	f.service = SERVICE_ABSENT;
	expect(&f, &u, "not_running", "no service is running on this store. Replication failed last with: no route.");
	f.service = SERVICE_SILENT;
	expect(&f, &u, "not_known", "cannot be asked");
	f.active = false;
	expect(&f, &u, "no_config", "No sync config is active");
	f.custom = true;
	expect(&f, &u, "custom", "requests are refused");
}

static void a_head_that_is_not_known_yet_waits_for_the_source(void **state)
{
	struct request_facts f = healthy();
	struct user_requests u = waiting(&headless);
	(void)state;
	expect(&f, &u, "head_unknown", "read again within 10 seconds");
	f.connected = false;
	f.source_error = "refused";
	expect(&f, &u, "source_down", "before it is back: refused.");
}

static void an_acknowledged_id_waits_for_the_client(void **state)
{
	struct request_facts f = healthy();
	struct request_stream streams[2] = {{42, true, 0, false}, {42, true, 0, false}};
	(void)state;
	expect(&f, &acknowledged, "no_stream", "no open stream");
	f.streams = streams;
	f.stream_count = 2;
	expect(&f, &acknowledged, "sent", "has not applied that checkpoint yet");
	streams[1].complete = false;
	expect(&f, &acknowledged, "sending", "being sent");
	streams[1] = (struct request_stream){41, true, 0, false};
	expect(&f, &acknowledged, "sending", "being sent");
	streams[1].unsent_bytes = 5000;
	expect(&f, &acknowledged, "unread", "5000 bytes wait");
	streams[1].no_credit = true;
	expect(&f, &acknowledged, "unread", "has not asked for more lines");
	f.service = SERVICE_ABSENT;
	expect(&f, &acknowledged, "not_running", "Id 42 is acknowledged, and no service");
	f.service = SERVICE_SILENT;
	expect(&f, &acknowledged, "not_known", "cannot be asked");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lag_is_told_with_its_distance),
	        cmocka_unit_test(what_stands_in_the_way_is_told_from_the_outside_in),
	        cmocka_unit_test(a_head_that_is_not_known_yet_waits_for_the_source),
	        cmocka_unit_test(an_acknowledged_id_waits_for_the_client),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
