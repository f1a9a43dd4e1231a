/*
 * rules_cases.h: what the runners of the sync-config and sync-streams vectors share: reading cases, typed values, rows, lookups.
 */
#ifndef SYNCLINE_TESTS_RULES_CASES_H
#define SYNCLINE_TESTS_RULES_CASES_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "rules/plan.h"
#include "rules/rules.h"

enum verdict { PASSED, FAILED, SKIPPED };

/* One case at a time: what went wrong is collected here. */
struct case_run {
	struct arena arena;
	struct buf report;
};

static inline void complain(struct case_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void complain(struct case_run *run, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, format);
	if (vasprintf(&text, format, args) >= 0) {
		buf_lit(&run->report, "  ");
		buf_slice_append(&run->report, slice_cstr(text));
		buf_putc(&run->report, '\n');
		free(text);
	}
	va_end(args);
}

static inline struct slice string_slice(const json_t *s)
{
	return s ? slice_make(json_string_value(s), json_string_length(s)) : (struct slice){0};
}

static inline const char *text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));
	return s ? s : "";
}

static inline long long whole_number(const json_t *n)
{
	return (long long)json_number_value(n);
}

static inline bool has_tag(const json_t *c, const char *tag)
{
	size_t i;
	json_t *t;
	json_array_foreach(json_object_get(c, "tags"), i, t) if (strcmp(json_string_value(t), tag) == 0) return true;
	return false;
}

static inline struct slice base64_bytes(struct case_run *run, struct slice text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *out = arena_bytes(&run->arena, text.n + 1);
	size_t n = 0, bits = 0;
	uint32_t word = 0;
	for (size_t i = 0; i < text.n && text.p[i] != '='; i++) {
		word = word << 6 | (uint32_t)(strchr(digits, text.p[i]) - digits);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			out[n++] = (char)(word >> bits);
		}
	}
	return slice_make(out, n);
}

static inline double real_of(const char *s)
{
	if (strcmp(s, "NaN") == 0)
		return (double)NAN;
	if (strstr(s, "Infinity"))
		return s[0] == '-' ? -(double)INFINITY : (double)INFINITY;
	return strtod(s, NULL);
}

/* False: the value needs more than 64 bits. */
static inline bool typed_value(struct case_run *run, const json_t *t, struct value *out)
{
	const json_t *v = json_object_get(t, "v");
	switch (text_of(t, "t")[0]) {
	case 'n':
		*out = value_null();
		return true;
	case 'i':
		out->kind = VALUE_INTEGER;
		return slice_parse_i64(string_slice(v), &out->i);
	case 'r':
		*out = value_real(real_of(json_string_value(v)));
		return true;
	case 's':
		*out = value_text(string_slice(v));
		return true;
	case 'b':
		*out = value_blob(base64_bytes(run, string_slice(v)));
		return true;
	default:
		*out = (struct value){.kind = VALUE_ABSENT};
		return true;
	}
}

static inline bool same_value(const struct value *a, const struct value *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case VALUE_INTEGER:
		return a->i == b->i;
	case VALUE_REAL:
		return isnan(a->r) ? isnan(b->r) : a->r == b->r && signbit(a->r) == signbit(b->r);
	case VALUE_TEXT:
	case VALUE_BLOB:
		return slice_eq(a->s, b->s);
	default:
		return true;
	}
}

static inline const char *value_show(struct case_run *run, const struct value *v)
{
	static const char *const kinds[] = {"absent", "unknown", "NULL", "INTEGER", "REAL", "TEXT", "BLOB"};
	struct slice text = {0};
	if (v->kind >= VALUE_INTEGER)
		text = value_text_form(v, &run->arena);
	return arena_cstr(&run->arena, arena_printf(&run->arena, "%s %.*s", kinds[v->kind], SLICE_ARG(text)));
}

/* A source row in the order of the file's keys. */
struct case_row {
	struct slice *names;
	struct value *values;
	size_t count;
	bool beyond_int64; /* a value needs more than 64 bits: not for this engine (spec 9.4) */
};

/* Does the text hold an integer of more than 64 bits, such as only an engine with big integers prints? */
static inline bool mentions_big_integer(const char *text)
{
	size_t digits = 0;
	for (; *text; text++) {
		digits = *text >= '0' && *text <= '9' ? digits + 1 : 0;
		if (digits >= 20)
			return true;
	}
	return false;
}

static inline struct case_row read_row(struct case_run *run, json_t *row)
{
	size_t n = json_object_size(row);
	struct case_row out = {.names = arena_array(&run->arena, struct slice, n + 1),
	                       .values = arena_array(&run->arena, struct value, n + 1)};
	const char *key;
	json_t *t;
	json_object_foreach(row, key, t)
	{
		out.names[out.count] = slice_cstr(key);
		out.beyond_int64 |= !typed_value(run, t, &out.values[out.count]);
		out.count++;
	}
	return out;
}

/* ---- stored lookups ----------------------------------------------------------------------------------------------------- */

struct stored_lookup {
	uint32_t definition;
	struct slice key, results;
};

struct lookup_store {
	struct arena *arena;
	struct stored_lookup *items;
	size_t count, cap;
};

static inline void store_lookups(struct lookup_store *s, const struct evaluation *e)
{
	for (size_t i = 0; i < e->lookup_count; i++) {
		s->items = xgrow(s->items, s->count, &s->cap, sizeof(*s->items));
		s->items[s->count++] = (struct stored_lookup){e->lookups[i].definition, e->lookups[i].key, e->lookups[i].results};
	}
}

static inline bool store_read(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                              struct error *err)
{
	(void)err, (void)max_results;
	struct lookup_store *s = ctx;
	for (size_t k = 0; k < count; k++) {
		struct slice *out = arena_array(arena, struct slice, s->count + 1);
		for (size_t i = 0; i < s->count; i++)
			if (s->items[i].definition == keys[k].definition && slice_eq(s->items[i].key, keys[k].key))
				out[keys[k].count++] = s->items[i].results;
		keys[k].results = out;
	}
	return true;
}

static inline bool nothing_stored(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                                  struct error *err)
{
	(void)ctx, (void)keys, (void)count, (void)max_results, (void)arena, (void)err;
	return true;
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static inline int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Runs every case of every *.json file in the folder; answers the exit status. */
static inline int run_folder(const char *folder, enum verdict (*run_case)(struct case_run *, const char *file, json_t *c))
{
	char *names[200];
	size_t count = 0, tally[3] = {0};
	DIR *dir = opendir(folder);
	if (!dir) {
		fprintf(stderr, "cannot open %s\n", folder);
		return 2;
	}
	for (struct dirent *e; (e = readdir(dir)) && count < 200;)
		if (slice_ends(slice_cstr(e->d_name), SLICE(".json")))
			names[count++] = xstrdup(slice_cstr(e->d_name));
	closedir(dir);
	qsort(names, count, sizeof(*names), compare_names);
	for (size_t i = 0; i < count; i++) {
		char path[4096];
		json_error_t error;
		snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
		json_t *doc = json_load_file(path, JSON_ALLOW_NUL, &error);
		/* Integers beyond 64 bits occur in tokens, whose numbers are doubles anyway. */
		if (!doc)
			doc = json_load_file(path, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
		if (!doc) {
			printf("%s: %s\n", path, error.text);
			return 2;
		}
		size_t n;
		json_t *c;
		json_array_foreach(json_object_get(doc, "cases"), n, c)
		{
			struct case_run run = {0};
			enum verdict v = run_case(&run, names[i], c);
			if (v != SKIPPED && run.report.n)
				v = FAILED;
			if (v == FAILED)
				printf("FAIL %s %s\n%.*s", names[i], text_of(c, json_object_get(c, "name") ? "name" : "key"),
				       SLICE_ARG(buf_slice(&run.report)));
			tally[v]++;
			buf_free(&run.report);
			arena_free(&run.arena);
		}
		json_decref(doc);
		free(names[i]);
	}
	printf("%zu passed, %zu failed, %zu skipped\n", tally[PASSED], tally[FAILED], tally[SKIPPED]);
	return tally[FAILED] != 0;
}

/* ---- comparing with what is expected ---------------------------------------------------------------------------------- */

/* The name of a bucket as the cases write it, with the version's prefix. */
static inline const char *bucket_text_of(struct case_run *run, const struct plan *plan, const char *prefix, uint32_t definition,
                                         struct slice keys)
{
	struct slice name = plan_definition(plan, definition)->name;
	return arena_cstr(&run->arena, arena_printf(&run->arena, "%s%.*s%.*s", prefix, SLICE_ARG(name), SLICE_ARG(keys)));
}

/* The same bucket, table and id as a later expected entry: only the last one's data is kept here. */
static inline bool replaced_later(json_t *list, size_t index)
{
	json_t *e = json_array_get(list, index);
	for (size_t i = index + 1; i < json_array_size(list); i++) {
		json_t *o = json_array_get(list, i);
		if (strcmp(text_of(e, "bucket"), text_of(o, "bucket")) == 0 &&
		    strcmp(text_of(e, "table"), text_of(o, "table")) == 0 && strcmp(text_of(e, "id"), text_of(o, "id")) == 0)
			return true;
	}
	return false;
}

#endif
