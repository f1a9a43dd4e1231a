/*
 * expressions.c: an SQL expression on a row. The input is records separated by \x1e: a digit of options, the expression, then columns
 * as name \x1f kind value (kinds: n, i, r, s, b). The expression is a column, a condition and a bucket key of both dialects, and is
 * evaluated on a request as well. What comes out must be JSON. make-corpus.py turns the vectors into seeds.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rules/explain.h"
#include "rules/rules.h"

#include <stdlib.h>

#include "base/buf.h"
#include "value/json.h"
#include "value/utf.h"

#define MAX_COLUMNS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPTION_FIXED_JSON = 1, OPTION_RAW_BYTES = 2 };

struct input {
	unsigned options;
	struct slice expression;
	struct slice names[MAX_COLUMNS];
	struct value values[MAX_COLUMNS];
	size_t count;
	struct arena arena;
};

static struct slice next_record(struct slice *rest, char separator)
{
	const char *end = rest->n ? memchr(rest->p, separator, rest->n) : NULL;
	struct slice out = slice_make(rest->p, end ? (size_t)(end - rest->p) : rest->n);
	*rest = slice_drop(*rest, end ? out.n + 1 : out.n);
	return out;
}

/* Numbers are taken from their text, or from its bytes if it is none. */
static struct value read_value(struct input *in, struct slice text)
{
	if (!text.n)
		return (struct value){.kind = VALUE_ABSENT};
	char kind = text.p[0];
	text = slice_drop(text, 1);
	struct value v = value_null();
	int64_t bits = 0;
	memcpy(&bits, text.p, text.n < 8 ? text.n : 8);
	switch (kind) {
	case 'i':
		v = value_integer(bits);
		slice_parse_i64(text, &v.i);
		return v;
	case 'r':
		v.kind = VALUE_REAL;
		memcpy(&v.r, &bits, sizeof(v.r));
		if (text.n && text.n < 40 && strchr("-0123456789IN", text.p[0]))
			v.r = strtod(arena_cstr(&in->arena, text), NULL);
		return v;
	case 's':
		return value_text(in->options & OPTION_RAW_BYTES ? text : utf8_from_bytes(text, &in->arena));
	case 'b':
		return value_blob(text);
	default:
		return v;
	}
}

static void read_input(struct input *in, struct slice rest)
{
	struct slice options = next_record(&rest, '\x1e');
	in->options = options.n ? (unsigned char)options.p[0] : 0;
	in->expression = next_record(&rest, '\x1e');
	while (rest.n && in->count < MAX_COLUMNS) {
		struct slice column = next_record(&rest, '\x1e');
		in->names[in->count] = next_record(&column, '\x1f');
		in->values[in->count++] = read_value(in, column);
	}
}

static void must_be_json(const struct input *in, struct slice text)
{
	struct arena arena = {0};
	struct json_node node;
	if (!(in->options & OPTION_RAW_BYTES) && !json_read(text, JSON_EXACT, &arena, &node, NULL))
		abort();
	arena_free(&arena);
}

/* What explains a row agrees with what evaluates it: a definition that gave something has a query whose conditions hold. */
static void must_be_explained(struct input *in, const struct bound_table *b, const struct evaluation *e)
{
	struct row_verdict *verdicts;
	size_t count;
	bound_explain(b, in->values, &in->arena, &verdicts, &count);
	for (size_t i = 0; i < e->entry_count; i++) {
		bool found = false;
		for (size_t j = 0; j < count; j++)
			found |= verdicts[j].definition == e->entries[i].definition &&
			         (verdicts[j].passes ||
			          memmem(verdicts[j].reason.p, verdicts[j].reason.n, "nor for any other element", 25));
		if (!found)
			abort();
	}
}

static void evaluate_row(struct input *in, struct plan *p)
{
	struct relation_columns columns = {SLICE("default"), SLICE("public"), SLICE("t"), in->names, in->count};
	struct bound_table *b = plan_bind(p, &columns);
	struct evaluation out = {0};
	if (b) {
		bound_evaluate(b, in->values, &in->arena, &out);
		must_be_explained(in, b, &out);
	}
	for (size_t i = 0; i < out.entry_count; i++) {
		must_be_json(in, out.entries[i].data);
		must_be_json(in, out.entries[i].keys);
	}
	for (size_t i = 0; i < out.lookup_count; i++) {
		must_be_json(in, out.lookups[i].key);
		must_be_json(in, out.lookups[i].results);
	}
	bound_table_free(b);
}

static bool nothing_stored(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                           struct error *err)
{
	(void)ctx, (void)keys, (void)count, (void)max_results, (void)arena, (void)err;
	return true;
}

static void resolve_request(struct input *in, struct plan *p)
{
	struct request_parameters params = {
	        .token_payload = SLICE("{\"sub\":\"u1\",\"parameters\":{\"a\":[\"x\",1.5]},\"list\":[1,\"b\",null]}"),
	        .client_parameters = SLICE("{\"a\":\"b\",\"j\":{\"k\":[1]}}"),
	        .include_defaults = true,
	};
	struct lookup_reader reader = {.read = nothing_stored};
	struct resolve_limits limits = {1000, 1000};
	struct resolution out;
	struct error err;
	struct querier *q = querier_new(p, &params, &err);
	if (q && querier_resolve(q, &reader, &limits, &in->arena, &out, &err))
		for (size_t i = 0; i < out.bucket_count; i++)
			must_be_json(in, out.buckets[i].keys);
	querier_free(q);
}

/* format: a config with %s for the expression as part of a JSON string, which YAML takes as its own. */
static void run_config(struct input *in, const char *format)
{
	struct buf quoted = {0}, yaml = {0};
	json_append_string(&quoted, in->expression);
	struct slice inner = slice_make(quoted.p + 1, quoted.n - 2);
	for (const char *at = format; *at; at++)
		if (at[0] == '%')
			buf_slice_append(&yaml, inner);
		else if (at[0] == '?')
			buf_slice_append(&yaml, in->options & OPTION_FIXED_JSON ? slice_cstr("true") : slice_cstr("false"));
		else
			buf_putc(&yaml, *at);
	struct diagnostics d;
	struct plan *p = plan_compile(buf_slice(&yaml), SLICE("public"), &d);
	if (p) {
		evaluate_row(in, p);
		resolve_request(in, p);
	}
	plan_unref(p);
	diagnostics_free(&d);
	buf_free(&quoted);
	buf_free(&yaml);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const configs[] = {
	        "config: {edition: 1, fixed_json_extract: ?}\nbucket_definitions:\n"
	        "  a: {data: [\"SELECT 'x' AS id, % AS v FROM t WHERE %\"]}\n"
	        "  b: {parameters: SELECT request.user_id() AS u, data: [\"SELECT * FROM t WHERE (%) = bucket.u\"]}\n",
	        "config: {edition: 1, fixed_json_extract: ?}\nbucket_definitions:\n"
	        "  a: {parameters: \"SELECT % AS v WHERE %\", data: []}\n"
	        "  b: {parameters: \"SELECT id FROM t WHERE (%) = request.user_id()\", data: []}\n",
	        "config: {edition: 3, fixed_json_extract: ?}\nstreams:\n"
	        "  s: {query: \"SELECT id, % AS v FROM t WHERE (%) = auth.user_id()\", auto_subscribe: true}\n"
	        "  f: {query: \"SELECT * FROM t WHERE %\", auto_subscribe: true}\n",
	        "config: {edition: 3, fixed_json_extract: ?}\nstreams:\n"
	        "  s: {query: \"SELECT * FROM t WHERE id IN (SELECT id FROM t WHERE % AND (%) = auth.user_id())\", "
	        "auto_subscribe: true}\n",
	};
	for (size_t i = 0; size && i < sizeof(configs) / sizeof(*configs); i++) {
		struct input in = {.count = 0};
		read_input(&in, slice_make((const char *)data, size));
		run_config(&in, configs[i]);
		arena_free(&in.arena);
	}
	return 0;
}
