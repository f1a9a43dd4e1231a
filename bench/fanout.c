/*
 * fanout.c: the cost of one change that many idle sessions are told of: news, then a step of each, over the embedded store.
 *
 * Usage: bench_fanout [sessions] [rounds]. Each round writes one row into a bucket that all sessions share.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "sync/session.h"

static const char config[] = "bucket_definitions:\n"
                             "  notes:\n"
                             "    data:\n"
                             "      - SELECT * FROM notes\n"
                             "  mine:\n"
                             "    parameters: SELECT request.user_id() AS user_id\n"
                             "    data:\n"
                             "      - SELECT * FROM notes WHERE owner = bucket.user_id\n";

struct bench {
	struct storage *s;
	struct error err;
	struct plan *plan;
	uint32_t table;
	uint64_t lsn;
	size_t wakes;
};

static void check(struct bench *b, bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, b->err.message);
	exit(1);
}

/* Of this thread, microseconds: the machine may be busy with other things. */
static int64_t cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void wake(void *ctx, void *owner)
{
	(void)owner;
	((struct bench *)ctx)->wakes++;
}

static void commit(struct bench *b)
{
	bool durable;
	b->lsn++;
	check(b, storage_commit(b->s, (struct position){0, b->lsn}, true, &durable, &b->err), "commit");
}

static void open_store(struct bench *b, const char *folder, const struct log *log)
{
	struct storage_options o = {
	        .path = slice_cstr(folder), .map_size = (uint64_t)1 << 30, .request_retention_ms = 3600000, .log = log};
	b->s = storage_open_lmdb(&o, &b->err);
	check(b, b->s, "open");
	struct diagnostics d = {0};
	bool unchanged;
	b->plan = plan_compile(slice_cstr(config), SLICE("public"), &d);
	check(b, b->plan, "sync config");
	diagnostics_free(&d);
	check(b, storage_deploy(b->s, b->plan, &unchanged, &b->err), "deploy");
	struct stored_plan *p = storage_pending_plan(b->s);
	for (size_t i = 0; i < p->count; i++)
		check(b, storage_definition_ready(b->s, p->definitions[i].number, &b->err), "ready");
	stored_plan_unref(p);
	check(b, storage_activate_pending(b->s, &b->err), "activate");
	commit(b);
	struct table_key_column key = {SLICE("id"), 25};
	struct table_identity t = {SLICE("public"), SLICE("notes"), 1, &key, 1};
	struct stored_table out;
	struct arena arena = {0};
	uint32_t *drop;
	size_t drops;
	check(b, storage_resolve_table(b->s, &t, &arena, &out, &drop, &drops, &b->err), "table");
	b->table = out.number;
	arena_free(&arena);
}

static void write_row(struct bench *b, size_t i)
{
	char id[24];
	snprintf(id, sizeof(id), "n%zu", i);
	struct slice names[] = {SLICE("id"), SLICE("text"), SLICE("owner")};
	struct relation_columns relation = {SLICE("default"), SLICE("public"), SLICE("notes"), names, 3};
	struct stored_plan *plan = storage_active_plan(b->s);
	struct bound_table *bound = plan_bind(plan->plan, &relation);
	struct value row[] = {value_text(slice_cstr(id)), value_text(SLICE("hello")), value_null()};
	struct arena arena = {0};
	struct evaluation e;
	bound_evaluate(bound, row, &arena, &e);
	struct put_entry puts[4];
	for (size_t k = 0; k < e.entry_count; k++) {
		puts[k] = (struct put_entry){plan->definitions[e.entries[k].definition].number,
		                             e.entries[k].keys,
		                             e.entries[k].object_type,
		                             e.entries[k].object_id,
		                             e.entries[k].data,
		                             {0}};
		put_entry_digest(&puts[k]);
	}
	struct row_key key = {.bytes = slice_cstr(id)};
	struct row_contributions c = {.puts = puts, .put_count = e.entry_count};
	check(b, storage_write_row(b->s, b->table, &key, NULL, &c, (struct slice){0}, ROW_STREAM, &b->err), "row");
	arena_free(&arena);
	bound_table_free(bound);
	stored_plan_unref(plan);
}

static size_t step(struct bench *b, struct session *s)
{
	struct session_output out = {0};
	int64_t next;
	check(b, session_step(s, 1000000, SIZE_MAX, SIZE_MAX, &out, &next, &b->err) == SESSION_IDLE, "step");
	for (size_t i = 0; i < out.count; i++)
		block_unref(out.blocks[i]);
	free(out.blocks);
	return out.lines;
}

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000, rounds = argc > 2 ? strtoull(argv[2], NULL, 10) : 10;
	char folder[] = "/dev/shm/syncline-fanout-XXXXXX";
	struct log log = {.level = LOG_ERROR, .fd = 2};
	struct bench b = {0};
	if (!count || !mkdtemp(folder))
		return 1;
	open_store(&b, folder, &log);
	struct session_hub *hub = session_hub_new(b.s, wake, &b);
	storage_subscribe(b.s, session_hub_news, hub);
	struct session **sessions = xcalloc(count, sizeof(*sessions));
	size_t before = allocated(), lines = 0;
	int64_t start = cpu_us();
	for (size_t i = 0; i < count; i++) {
		char subject[32], payload[64];
		snprintf(subject, sizeof(subject), "user-%zu", i);
		snprintf(payload, sizeof(payload), "{\"sub\":\"user-%zu\"}", i);
		struct sync_request request = {.raw_data = true, .include_defaults = true};
		struct session_options o = {.user = {slice_cstr(subject), SLICE("c")},
		                            .token_payload = slice_cstr(payload),
		                            .expires_at_ms = 10000000,
		                            .keepalive_lines = true,
		                            .limits = {1000, 1000}};
		sessions[i] = session_new(hub, &request, &o, NULL, &b.err);
		check(&b, sessions[i], "session");
		step(&b, sessions[i]);
	}
	printf("open and first step: %.1f us each; %zu bytes an idle session\n", (double)(cpu_us() - start) / (double)count,
	       (allocated() - before) / count);
	int64_t news_us = 0, step_us = 0;
	for (size_t r = 0; r < rounds; r++) {
		write_row(&b, r);
		start = cpu_us();
		commit(&b);
		news_us += cpu_us() - start;
		start = cpu_us();
		for (size_t i = 0; i < count; i++)
			lines += step(&b, sessions[i]);
		step_us += cpu_us() - start;
	}
	printf("commit with news: %.0f us; steps: %.2f us each, %.0f lines/s; %zu wakes\n", (double)news_us / (double)rounds,
	       (double)step_us / (double)(rounds * count), (double)lines * 1e6 / (double)step_us, b.wakes);
	for (size_t i = 0; i < count; i++)
		session_free(sessions[i]);
	free(sessions);
	session_hub_free(hub);
	plan_unref(b.plan);
	storage_close(b.s);
	return 0;
}
