/*
 * sync_config.c: any text as a sync config: compile it; if that works, print it, bind it to a table that it reads, evaluate a row and
 * resolve a request. Finds crashes, leaks, and work without bounds.
 */
#include "rules/rules.h"

#include <stdlib.h>

#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_lookups(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                         struct error *err)
{
	static const struct slice stored[] = {SLICE_INIT("[{\"0\":\"a\",\"1\":5,\"result\":null,\"id\":\"a\"}]"),
	                                      SLICE_INIT("[{\"0\":\"b\",\"1\":5.5,\"result\":\"x\",\"id\":\"b\"}]")};
	(void)ctx, (void)max_results, (void)arena, (void)err;
	for (size_t i = 0; i < count; i++) {
		keys[i].results = stored;
		keys[i].count = 2;
	}
	return true;
}

static void evaluate_row(struct plan *p, const struct table_pattern *t)
{
	static const struct slice names[] = {SLICE_INIT("id"), SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("tags"),
	                                     SLICE_INIT("_x")};
	const struct value row[] = {value_text(SLICE("1")), value_integer(5), value_null(), value_text(SLICE("[\"a\",1,null]")),
	                            value_blob(SLICE("\x01"))};
	struct relation_columns columns = {t->connection_tag, t->schema, t->table, names, sizeof(names) / sizeof(*names)};
	struct bound_table *b = plan_bind(p, &columns);
	struct arena arena = {0};
	struct evaluation out;
	struct row_event *events;
	size_t count;
	if (b) {
		bound_evaluate(b, row, &arena, &out);
		bound_events(b, row, &arena, &events, &count);
	}
	arena_free(&arena);
	bound_table_free(b);
}

static void resolve_request(struct plan *p)
{
	struct subscription_request subscription = {
	        .stream = SLICE("s"), .parameters = SLICE("{\"a\":[1,2]}"), .override_priority = 1};
	struct request_parameters params = {
	        .token_payload = SLICE("{\"sub\":\"u1\",\"parameters\":{\"a\":[\"x\"]},\"list\":[1,\"b\"]}"),
	        .client_parameters = SLICE("{\"a\":\"b\"}"),
	        .include_defaults = true,
	        .subscriptions = &subscription,
	        .subscription_count = 1,
	};
	struct error err;
	struct arena arena = {0};
	struct resolution out;
	struct lookup_reader reader = {.read = read_lookups};
	struct resolve_limits limits = {1000, 1000};
	struct querier *q = querier_new(p, &params, &err);
	if (q)
		querier_resolve(q, &reader, &limits, &arena, &out, &err);
	arena_free(&arena);
	querier_free(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct diagnostics d;
	struct plan *p = plan_compile(slice_make(data, size), SLICE("public"), &d);
	if (p) {
		struct buf text = {0};
		plan_print(p, &text);
		buf_free(&text);
		for (uint32_t i = 0; i < plan_pattern_count(p) && i < 10; i++)
			evaluate_row(p, plan_pattern(p, i));
		resolve_request(p);
	}
	plan_unref(p);
	diagnostics_free(&d);
	return 0;
}
