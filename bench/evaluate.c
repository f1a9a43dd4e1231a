/*
 * evaluate.c: rows per second through the rules, on one core, beside a plain copy of the row's text and beside SQLite computing the
 * same columns (if libsqlite3 can be loaded at run time).
 *
 * usage: bench_evaluate [ROWS]
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/buf.h"
#include "rules/rules.h"

#define DISTINCT 1000

struct source_row {
	struct value values[8];
};

static const struct slice names[] = {SLICE_INIT("id"),     SLICE_INIT("owner_id"), SLICE_INIT("title"),   SLICE_INIT("body"),
                                     SLICE_INIT("amount"), SLICE_INIT("price"),    SLICE_INIT("created"), SLICE_INIT("done")};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others may use the machine */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct source_row *make_rows(struct arena *arena)
{
	struct source_row *rows = arena_array(arena, struct source_row, DISTINCT);
	for (size_t i = 0; i < DISTINCT; i++) {
		struct value *v = rows[i].values;
		v[0] = value_text(arena_printf(arena, "5f0c81d2-1b0e-4c9a-9d51-%012zu", i));
		v[1] = value_text(arena_printf(arena, "user-%zu", i % 97));
		v[2] = value_text(arena_printf(arena, "Task number %zu", i));
		v[3] = value_text(arena_printf(
		        arena, "The quick brown fox jumps over the lazy dog, %zu times; she said \"enough\" and left.\n", i));
		v[4] = value_integer((int64_t)i * 37);
		v[5] = value_real((double)i * 1.25);
		v[6] = value_text(SLICE("2024-05-17T10:11:12.123456Z"));
		v[7] = value_integer((int64_t)i & 1);
	}
	return rows;
}

static struct plan *compile(const char *yaml)
{
	struct diagnostics d;
	struct plan *p = plan_compile(slice_cstr(yaml), SLICE("public"), &d);
	for (size_t i = 0; i < d.count && !p; i++)
		fprintf(stderr, "%s: %.*s\n", d.items[i].class_name, SLICE_ARG(d.items[i].message));
	diagnostics_free(&d);
	if (!p)
		exit(1);
	return p;
}

/* Answers rows per second. */
static double measure(const char *what, const char *yaml, const struct source_row *rows, size_t count)
{
	struct plan *p = compile(yaml);
	struct relation_columns columns = {SLICE("default"), SLICE("public"), SLICE("tasks"), names,
	                                   sizeof(names) / sizeof(*names)};
	struct bound_table *b = plan_bind(p, &columns);
	struct arena arena = {0};
	size_t bytes = 0, entries = 0;
	double start = now();
	for (size_t i = 0; i < count; i++) {
		struct evaluation out;
		bound_evaluate(b, rows[i % DISTINCT].values, &arena, &out);
		entries += out.entry_count;
		bytes += out.entry_count ? out.entries[0].data.n : 0;
		arena_reset(&arena);
	}
	double seconds = now() - start;
	printf("%-44s %10.0f rows/s %7.0f ns/row %5.1f entries/row %7.0f MB/s of data\n", what, (double)count / seconds,
	       seconds / (double)count * 1e9, (double)entries / (double)count, (double)bytes / seconds / 1e6);
	arena_free(&arena);
	bound_table_free(b);
	plan_unref(p);
	return (double)count / seconds;
}

/* What no evaluator can beat: the bytes of the finished text copied once. */
static void measure_copy(const struct source_row *rows, size_t count)
{
	char *to = malloc(4096);
	size_t bytes = 0;
	double start = now();
	for (size_t i = 0; i < count; i++) {
		const struct value *v = rows[i % DISTINCT].values;
		size_t n = 0;
		for (size_t k = 0; k < 8; k++) {
			if (v[k].kind != VALUE_TEXT)
				continue;
			memcpy(to + n, v[k].s.p, v[k].s.n);
			n += v[k].s.n;
		}
		bytes += n;
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	double seconds = now() - start;
	printf("%-44s %10.0f rows/s %7.0f ns/row %26.0f MB/s\n", "copying the texts of a row", (double)count / seconds,
	       seconds / (double)count * 1e9, (double)bytes / seconds / 1e6);
	free(to);
}

/* ---- SQLite ----------------------------------------------------------------------------------------------------------- */

struct sqlite {
	int (*open)(const char *, void **);
	int (*prepare)(void *, const char *, int, void **, const char **);
	int (*step)(void *);
	int (*reset)(void *);
	int (*bind_text)(void *, int, const char *, int, void (*)(void *));
	int (*bind_int64)(void *, int, long long);
	int (*bind_double)(void *, int, double);
	const unsigned char *(*column_text)(void *, int);
	int (*finalize)(void *);
	int (*close)(void *);
};

static bool load_sqlite(struct sqlite *s)
{
	void *lib = dlopen("libsqlite3.so.0", RTLD_NOW);
	if (!lib)
		return false;
	*(void **)&s->open = dlsym(lib, "sqlite3_open");
	*(void **)&s->prepare = dlsym(lib, "sqlite3_prepare_v2");
	*(void **)&s->step = dlsym(lib, "sqlite3_step");
	*(void **)&s->reset = dlsym(lib, "sqlite3_reset");
	*(void **)&s->bind_text = dlsym(lib, "sqlite3_bind_text");
	*(void **)&s->bind_int64 = dlsym(lib, "sqlite3_bind_int64");
	*(void **)&s->bind_double = dlsym(lib, "sqlite3_bind_double");
	*(void **)&s->column_text = dlsym(lib, "sqlite3_column_text");
	*(void **)&s->finalize = dlsym(lib, "sqlite3_finalize");
	*(void **)&s->close = dlsym(lib, "sqlite3_close");
	return s->open && s->prepare && s->step && s->reset && s->bind_text && s->bind_int64 && s->bind_double && s->column_text;
}

/* The row is bound to a prepared statement that gives the same JSON object. */
static double measure_sqlite(const struct sqlite *s, const char *what, const char *sql, const struct source_row *rows,
                             size_t count)
{
	void *db, *statement;
	if (s->open(":memory:", &db) != 0 || s->prepare(db, sql, -1, &statement, NULL) != 0) {
		printf("%-44s (SQLite cannot prepare it)\n", what);
		return 0;
	}
	size_t bytes = 0;
	double start = now();
	for (size_t i = 0; i < count; i++) {
		const struct value *v = rows[i % DISTINCT].values;
		for (int k = 0; k < 8; k++) {
			if (v[k].kind == VALUE_TEXT)
				s->bind_text(statement, k + 1, v[k].s.p, (int)v[k].s.n, NULL);
			else if (v[k].kind == VALUE_INTEGER)
				s->bind_int64(statement, k + 1, v[k].i);
			else
				s->bind_double(statement, k + 1, v[k].r);
		}
		if (s->step(statement) == 100)
			bytes += strlen((const char *)s->column_text(statement, 0));
		s->reset(statement);
	}
	double seconds = now() - start;
	printf("%-44s %10.0f rows/s %7.0f ns/row %26.0f MB/s of data\n", what, (double)count / seconds,
	       seconds / (double)count * 1e9, (double)bytes / seconds / 1e6);
	s->finalize(statement);
	s->close(db);
	return (double)count / seconds;
}

/* The data once, and 20 conditions each with its key. */
static const char *twenty_sqlite(struct arena *arena)
{
	struct buf out = {0};
	buf_lit(&out,
	        "SELECT json_object('id', ?1, 'owner_id', ?2, 'title', ?3, 'body', ?4, 'amount', ?5, 'price', ?6, 'created', ?7, "
	        "'done', ?8)");
	for (int i = 0; i < 20; i++)
		buf_printf(&out, ", CASE WHEN ?2 IS NOT NULL AND ?5 >= %d THEN json_array(?2) END", i);
	const char *text = arena_cstr(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

static void print_ratio(const char *what, double ours, double sqlite)
{
	if (sqlite > 0)
		printf("%-44s %10.1f times SQLite\n", what, ours / sqlite);
}

/* ---- configurations --------------------------------------------------------------------------------------------------- */

static const char star[] = "bucket_definitions:\n  all:\n    data: [SELECT * FROM tasks]\n";
static const char owner[] = "config: {edition: 3}\nstreams:\n  mine:\n    auto_subscribe: true\n"
                            "    query: SELECT * FROM tasks WHERE owner_id = auth.user_id()\n";
static const char projection[] =
        "config: {edition: 3}\nstreams:\n  mine:\n    query: |\n"
        "      SELECT id, upper(title) AS title, amount * 2 AS twice, substring(body, 1, 20) AS head, ifnull(done, 0) AS done\n"
        "      FROM tasks WHERE owner_id = auth.user_id() AND done = 0\n";

/* 20 streams over one table with the same columns and different conditions. */
static const char *twenty(struct arena *arena)
{
	struct buf out = {0};
	buf_lit(&out, "config: {edition: 3}\nstreams:\n");
	for (int i = 0; i < 20; i++)
		buf_printf(&out,
		           "  s%d:\n    query: SELECT * FROM tasks WHERE owner_id = auth.parameter('p%d') AND amount >= %d\n", i,
		           i, i);
	const char *text = arena_cstr(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000000;
	struct arena arena = {0};
	struct source_row *rows = make_rows(&arena);
	measure_copy(rows, count);
	double all = measure("SELECT *, one global bucket", star, rows, count);
	measure("SELECT *, one bucket per owner", owner, rows, count);
	double five = measure("five columns with functions", projection, rows, count);
	double many = measure("20 streams on one table", twenty(&arena), rows, count / 4);
	struct sqlite s;
	if (load_sqlite(&s)) {
		double all_sqlite = measure_sqlite(
		        &s, "SQLite: all columns as json_object",
		        "SELECT json_object('id', ?1, 'owner_id', ?2, 'title', ?3, 'body', ?4, 'amount', ?5, 'price', ?6, "
		        "'created', ?7, "
		        "'done', ?8)",
		        rows, count / 4);
		double five_sqlite = measure_sqlite(
		        &s, "SQLite: five columns with functions",
		        "SELECT json_object('id', ?1, 'title', upper(?3), 'twice', ?5 * 2, 'head', substr(?4, 1, 20), 'done', "
		        "ifnull(?8, 0)) WHERE ?8 = 0 AND ?2 IS NOT NULL",
		        rows, count / 4);
		double many_sqlite =
		        measure_sqlite(&s, "SQLite: 20 conditions with keys", twenty_sqlite(&arena), rows, count / 16);
		print_ratio("SELECT *", all, all_sqlite);
		print_ratio("five columns with functions", five, five_sqlite);
		print_ratio("20 streams on one table", many, many_sqlite);
	}
	arena_free(&arena);
	return 0;
}
