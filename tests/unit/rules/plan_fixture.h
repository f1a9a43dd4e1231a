/* plan_fixture.h: plans, rows and requests in few words, for the tests of the rules. */
#ifndef SYNCLINE_TESTS_PLAN_FIXTURE_H
#define SYNCLINE_TESTS_PLAN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "rules/rules.h"

/* A plan that must compile. */
static inline struct plan *plan_of(const char *yaml)
{
	struct diagnostics d;
	struct plan *p = plan_compile(slice_cstr(yaml), SLICE("public"), &d);
	for (size_t i = 0; i < d.count && !p; i++)
		print_message("%s at %zu:%zu: %.*s\n", d.items[i].class_name, d.items[i].line, d.items[i].column,
		              SLICE_ARG(d.items[i].message));
	diagnostics_free(&d);
	assert_non_null(p);
	return p;
}

/* The config must be refused, with this class among the faults. */
static inline void assert_refused(const char *yaml, const char *class_name)
{
	struct diagnostics d;
	struct plan *p = plan_compile(slice_cstr(yaml), SLICE("public"), &d);
	bool found = false;
	assert_null(p);
	for (size_t i = 0; i < d.count; i++)
		found |= d.items[i].level == DIAGNOSTIC_FATAL && strcmp(d.items[i].class_name, class_name) == 0;
	if (!found && d.count)
		print_message("got %s: %.*s\n", d.items[0].class_name, SLICE_ARG(d.items[0].message));
	diagnostics_free(&d);
	assert_true(found);
}

static inline void assert_slice(struct slice got, const char *wanted)
{
	struct slice w = slice_cstr(wanted);
	if (!slice_eq(got, w))
		print_message("wanted %.*s, got %.*s\n", SLICE_ARG(w), SLICE_ARG(got));
	assert_true(slice_eq(got, w));
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

#define FIXTURE_COLUMNS 16

/* Texts stand for columns and values: "id", "1", "a", "x", NULL. A value "#5" is the INTEGER 5, "~" is NULL, "!" a blob, "?" absent. */
struct fixture_row {
	struct slice names[FIXTURE_COLUMNS];
	struct value values[FIXTURE_COLUMNS];
	size_t count;
};

static inline struct fixture_row row_of(const char *const *texts)
{
	struct fixture_row r = {.count = 0};
	for (; texts[0]; texts += 2) {
		const char *v = texts[1];
		r.names[r.count] = slice_cstr(texts[0]);
		if (v[0] == '#')
			r.values[r.count] = value_integer(atoll(v + 1));
		else if (v[0] == '~')
			r.values[r.count] = value_null();
		else if (v[0] == '!')
			r.values[r.count] = value_blob(SLICE("\x01\x02"));
		else if (v[0] == '?')
			r.values[r.count] = (struct value){.kind = VALUE_ABSENT};
		else
			r.values[r.count] = value_text(slice_cstr(v));
		r.count++;
	}
	return r;
}

#define ROW(...) row_of((const char *const[]){__VA_ARGS__, NULL})

static inline struct bound_table *bind_row(struct plan *p, const char *table, const struct fixture_row *r)
{
	struct relation_columns c = {SLICE("default"), SLICE("public"), slice_cstr(table), r->names, r->count};
	return plan_bind(p, &c);
}

static inline struct evaluation evaluate(struct plan *p, const char *table, struct fixture_row r, struct arena *arena)
{
	struct bound_table *b = bind_row(p, table, &r);
	struct evaluation out = {0};
	struct value *values = arena_array(arena, struct value, r.count + 1);
	memcpy(values, r.values, sizeof(*values) * r.count);
	if (b)
		bound_evaluate(b, values, arena, &out);
	/* Names of the table live in the bound table: keep what the test compares. */
	for (size_t i = 0; i < out.entry_count; i++)
		out.entries[i].object_type = arena_copy(arena, out.entries[i].object_type);
	bound_table_free(b);
	return out;
}

/* ---- stored lookups ----------------------------------------------------------------------------------------------------- */

struct fixture_store {
	struct arena arena;
	struct row_lookup items[200];
	size_t count;
	size_t reads, calls; /* keys; calls of the reader */
};

static inline void store_row(struct fixture_store *s, struct plan *p, const char *table, struct fixture_row r)
{
	struct evaluation e = evaluate(p, table, r, &s->arena);
	for (size_t i = 0; i < e.lookup_count; i++)
		s->items[s->count++] = e.lookups[i];
}

static inline bool fixture_read(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                                struct error *err)
{
	struct fixture_store *s = ctx;
	(void)err, (void)max_results;
	s->calls++;
	s->reads += count;
	for (size_t k = 0; k < count; k++) {
		struct slice *out = arena_array(arena, struct slice, s->count + 1);
		for (size_t i = 0; i < s->count; i++)
			if (s->items[i].definition == keys[k].definition && slice_eq(s->items[i].key, keys[k].key))
				out[keys[k].count++] = s->items[i].results;
		keys[k].results = out;
	}
	return true;
}

/* ---- requests ----------------------------------------------------------------------------------------------------------- */

struct fixture_request {
	const char *token, *client; /* client: NULL for none */
	bool no_defaults;
	struct subscription_request subscriptions[8];
	size_t subscription_count;
	struct resolve_limits limits; /* 0: none */
};

static inline struct querier *querier_of(struct plan *p, const struct fixture_request *r, struct error *err)
{
	struct request_parameters params = {
	        .token_payload = slice_cstr(r->token),
	        .client_parameters = slice_cstr(r->client),
	        .include_defaults = !r->no_defaults,
	        .subscriptions = r->subscriptions,
	        .subscription_count = r->subscription_count,
	};
	return querier_new(p, &params, err);
}

/* "name[keys]:priority" of all buckets, in order, separated by blanks. */
static inline const char *bucket_list(struct plan *p, const struct resolution *r, struct arena *arena)
{
	struct buf out = {0};
	for (size_t i = 0; i < r->bucket_count; i++)
		buf_printf(&out, "%s%.*s%.*s:%d", i ? " " : "", SLICE_ARG(plan_definition(p, r->buckets[i].definition)->name),
		           SLICE_ARG(r->buckets[i].keys), r->buckets[i].priority);
	const char *text = arena_cstr(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

static inline void assert_buckets(struct plan *p, struct fixture_request r, struct fixture_store *store, const char *wanted)
{
	struct error err = {0};
	struct arena arena = {0};
	struct resolution out;
	struct fixture_store none = {.count = 0};
	struct lookup_reader reader = {.ctx = store ? store : &none, .read = fixture_read};
	struct querier *q = querier_of(p, &r, &err);
	if (!q)
		print_message("%s\n", err.message);
	assert_non_null(q);
	bool ok = querier_resolve(q, &reader, r.limits.max_buckets ? &r.limits : NULL, &arena, &out, &err);
	if (!ok)
		print_message("%s\n", err.message);
	assert_true(ok);
	assert_string_equal(bucket_list(p, &out, &arena), wanted);
	querier_free(q);
	arena_free(&arena);
}

#endif
