/*
 * postgres-types-vectors.c: the vectors of value mapping, each literal through a chunk and through the stream of a real server.
 *
 * Usage: postgres-types-vectors FOLDER, with PG_URI in the environment (a server with wal_level=logical; it makes a database of its
 * own); without it everything is skipped. The format is described in FOLDER/README.md.
 *
 * Known deviations, by decision, count as passed: NaN and infinities inside JSON are null; streamed domains give the base value like the
 * snapshot; session settings are pinned, so those of the database change nothing.
 */
#include <jansson.h>

#include <dirent.h>

#include "../unit/source/pg_fixture.h"
#include "value/value.h"

#define MAX_VARIANTS 2

struct variant {
	struct mapping_options options;
	const char *expected; /* of the snapshot; the stream's own expectation is a deviation where it differs (domains) */
};

struct entry {
	const char *id, *type, *literal;
	json_t *settings;
	struct variant variants[MAX_VARIANTS];
	size_t variant_count;
	char *plain[MAX_VARIANTS]; /* with settings only: what a database without them gave */
};

struct run {
	struct fixture f;
	struct entry *entries;
	size_t count;
	size_t passed, failed, skipped, deviations;
	char slot[64];
	bool recording; /* into entry.plain */
	struct source_connection *c;
};

/* ---- reading the vectors ------------------------------------------------------------------------------------------------------- */

static const char *text_of(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static int digits_of(const char *precision)
{
	static const char *const names[] = {"seconds", "milliseconds", "microseconds", "nanoseconds"};
	static const int digits[] = {0, 3, 6, 9};
	for (size_t i = 0; precision && i < sizeof(digits) / sizeof(*digits); i++)
		if (strcmp(precision, names[i]) == 0)
			return digits[i];
	return -1;
}

static struct mapping_options options_of(json_t *o)
{
	bool modern = json_integer_value(json_object_get(o, "edition")) >= 2;
	json_t *iso = json_object_get(o, "timestamps_iso8601"), *custom = json_object_get(o, "custom_postgres_types");
	return (struct mapping_options){.timestamps_iso8601 = iso ? json_is_true(iso) : modern,
	                                .custom_postgres_types = custom ? json_is_true(custom) : modern,
	                                .timestamp_digits = digits_of(text_of(o, "timestamp_max_precision"))};
}

static struct entry entry_of(json_t *o)
{
	struct entry e = {.id = text_of(o, "id"),
	                  .type = text_of(o, "type"),
	                  .literal = text_of(o, "literal"),
	                  .settings = json_object_get(o, "settings")};
	if (text_of(o, "expected")) {
		e.variants[e.variant_count++] =
		        (struct variant){options_of(json_object_get(o, "options")), text_of(o, "expected")};
		return e;
	}
	struct mapping_options one = {.timestamp_digits = -1}, three = {true, true, -1};
	e.variants[e.variant_count++] = (struct variant){one, text_of(o, "edition1")};
	e.variants[e.variant_count++] = (struct variant){three, text_of(o, "edition3")};
	return e;
}

/* ---- comparing ----------------------------------------------------------------------------------------------------------------- */

/* NaN and infinities that are no strings, as null. */
static void without_infinities(struct buf *out, const char *expected)
{
	static const char *const tokens[] = {"-Infinity", "Infinity", "NaN"};
	for (const char *p = expected; *p;) {
		size_t n = 0;
		bool quoted = p > expected && (p[-1] == '"' || p[-1] == '-');
		for (size_t i = 0; !quoted && !n && i < 3; i++)
			if (strncmp(p, tokens[i], strlen(tokens[i])) == 0)
				n = strlen(tokens[i]);
		if (n)
			buf_lit(out, "null");
		else
			buf_putc(out, *p);
		p += n ? n : 1;
	}
}

static void check(struct run *run, struct entry *e, size_t i, const char *way, const struct value *value)
{
	const struct variant *v = &e->variants[i];
	struct buf got = {0}, other = {0};
	if (value->kind == VALUE_BLOB)
		buf_lit(&got, "<absent>");
	else
		value_json(&got, value);
	if (run->recording) {
		free(e->plain[i]);
		e->plain[i] = strndup(got.p, got.n);
		buf_free(&got);
		return;
	}
	without_infinities(&other, v->expected);
	struct slice expected = slice_cstr(v->expected);
	bool text_token = strcmp(e->type, "float4") != 0 && strcmp(e->type, "float8") != 0 && strcmp(e->type, "dom_float") != 0 &&
	                  !strchr(v->expected, '[') && !strchr(v->expected, '{');
	if (slice_eq(buf_slice(&got), expected)) {
		run->passed++;
	} else if (!text_token && slice_eq(buf_slice(&got), buf_slice(&other))) {
		run->passed++;
		run->deviations++;
	} else if (e->settings && e->plain[i] && slice_eq(buf_slice(&got), slice_cstr(e->plain[i]))) {
		run->passed++;
		run->deviations++;
	} else {
		run->failed++;
		printf("FAILED %s (%s, iso %d, custom %d): %s %s\n  expected %s\n  got      %.*s\n", e->id, way,
		       v->options.timestamps_iso8601, v->options.custom_postgres_types, e->type, e->literal, v->expected,
		       SLICE_ARG(buf_slice(&got)));
	}
	buf_free(&got);
	buf_free(&other);
}

/* Maps the row (id, v) with each variant's options and compares v. */
static void check_row(struct run *run, struct entry *e, const struct source_relation *r, const struct raw_value *row,
                      const char *way)
{
	for (size_t i = 0; i < e->variant_count; i++) {
		struct error err = {0};
		struct value values[2];
		struct value_mapper *m = value_mapper_new(run->c, r, &e->variants[i].options, &err);
		if (m && value_mapper_row(m, row, &run->f.arena, values, &err)) {
			check(run, e, i, way, &values[1]);
		} else {
			run->failed++;
			printf("FAILED %s (%s): %s\n", e->id, way, err.message);
		}
		value_mapper_free(m);
	}
}

/* ---- running ------------------------------------------------------------------------------------------------------------------- */

static void make_table(struct run *run, size_t i)
{
	const struct entry *e = &run->entries[i];
	struct buf sql = {0};
	buf_printf(&sql,
	           "DROP TABLE IF EXISTS t%zu; CREATE TABLE t%zu (id text PRIMARY KEY, v %s); INSERT INTO t%zu VALUES ('x', "
	           "(%s)::%s)",
	           i, i, e->type, i, e->literal, e->type);
	buf_putc(&sql, '\0');
	fixture_sql(&run->f, sql.p);
	buf_free(&sql);
}

static bool snapshot(struct run *run, size_t i, struct error *err)
{
	char name[32];
	snprintf(name, sizeof(name), "t%zu", i);
	struct source_pattern p = {.schema = SLICE("public"), .table = slice_cstr(name)};
	struct source_table *t;
	struct source_chunk chunk;
	size_t n;
	if (!source_discover(run->c, &p, 1, &run->f.arena, &t, &n, err) || n != 1)
		return false;
	struct chunk_request request = {.table = t, .max_rows = 10, .max_bytes = 1 << 20};
	if (!source_read_chunk(run->c, &request, &run->f.arena, &chunk, err) || chunk.row_count != 1)
		return false;
	check_row(run, &run->entries[i], &t->relation, chunk.rows, "snapshot");
	return true;
}

static bool follow(struct run *run, struct source_stream *stream, size_t from, size_t end, struct error *err)
{
	struct stream_event event;
	struct source_relation r = {0};
	struct arena arena = {0};
	size_t i = run->count, left = end - from;
	bool ok = true;
	while (left && (ok = source_stream_next(stream, 10000, &event, err)) && event.kind != STREAM_NOTHING) {
		if (event.kind == STREAM_RELATION) {
			char name[32];
			snprintf(name, sizeof(name), "%.*s", SLICE_ARG(event.relation.name));
			i = strtoul(name + 1, NULL, 10);
			r = event.relation;
			struct source_column *columns = arena_array(&arena, struct source_column, r.column_count);
			for (size_t k = 0; k < r.column_count; k++) {
				columns[k] = r.columns[k];
				columns[k].name = arena_copy(&arena, columns[k].name);
			}
			r.columns = columns;
		} else if (event.kind == STREAM_INSERT && i >= from && i < end) {
			check_row(run, &run->entries[i], &r, event.new_row, "stream");
			left--;
		}
	}
	arena_free(&arena);
	return ok && left == 0;
}

/* Entries with equal settings, made and read under these. */
static bool run_group(struct run *run, size_t from, size_t end, struct error *err)
{
	struct buf sql = {0};
	const char *key;
	json_t *value;
	buf_printf(&sql, "ALTER DATABASE %s RESET ALL;", run->f.database);
	json_object_foreach(run->recording ? NULL : run->entries[from].settings, key, value)
	        buf_printf(&sql, "ALTER DATABASE %s SET \"%s\" = '%s';", run->f.database, key, json_string_value(value));
	buf_putc(&sql, '\0');
	fixture_sql_on(run->f.admin, sql.p);
	uint64_t lsn;
	struct xid_snapshot x;
	struct source_stream *stream = NULL;
	bool ok = (run->c = source_connect(run->f.source, err)) &&
	          source_slot_create(run->f.source, run->slot, &lsn, &x, &run->f.arena, err) &&
	          (stream = source_stream_open(run->f.source, run->slot, err));
	for (size_t i = from; ok && i < end; i++) {
		make_table(run, i);
		ok = snapshot(run, i, err);
	}
	ok = ok && follow(run, stream, from, end, err);
	source_stream_close(stream);
	if (run->c)
		ok = source_slot_drop(run->c, run->slot, err) && ok;
	source_disconnect(run->c);
	run->c = NULL;
	buf_free(&sql);
	return ok;
}

static bool run_file(struct run *run, const char *path, json_t *file)
{
	struct error err = {0};
	json_t *o;
	size_t index, from = run->count;
	run->entries = realloc(run->entries, (run->count + json_array_size(file)) * sizeof(*run->entries));
	json_array_foreach(file, index, o) run->entries[run->count++] = entry_of(o);
	for (size_t end; from < run->count; from = end) {
		for (end = from + 1; end < run->count && json_equal(run->entries[end].settings, run->entries[from].settings) ==
		                                                 (run->entries[from].settings != NULL);
		     end++)
			;
		run->recording = run->entries[from].settings != NULL;
		bool ok = !run->recording || run_group(run, from, end, &err);
		run->recording = false;
		if (!ok || !run_group(run, from, end, &err)) {
			printf("FAILED %s: %s\n", path, err.message);
			run->failed++;
			return false;
		}
	}
	return true;
}

static void prepare(struct run *run, const char *folder)
{
	char path[1024];
	snprintf(path, sizeof(path), "%s/types.sql", folder);
	struct buf sql = {0};
	FILE *in = fopen(path, "r");
	if (!in) {
		perror(path);
		exit(1);
	}
	for (int c; (c = fgetc(in)) != EOF;)
		buf_putc(&sql, (char)c);
	fclose(in);
	buf_putc(&sql, '\0');
	fixture_sql(&run->f, "SET TimeZone = 'UTC'; SET DateStyle = ISO; SET lc_monetary = 'C'");
	fixture_sql(&run->f, sql.p);
	fixture_sql(&run->f, "CREATE PUBLICATION powersync FOR ALL TABLES");
	buf_free(&sql);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	struct dirent **names;
	int count = scandir(argv[1], &names, NULL, by_name);
	if (count < 0) {
		perror(argv[1]);
		return 2;
	}
	struct run run = {0};
	snprintf(run.slot, sizeof(run.slot), "syncline_vectors_%d", (int)getpid());
	bool have_server = fixture_start(&run.f, "vectors");
	if (have_server)
		prepare(&run, argv[1]);
	else
		printf("PG_URI is not set: everything is skipped\n");
	json_t *files = json_array();
	for (int i = 0; i < count; i++) {
		char path[1024];
		size_t n = strlen(names[i]->d_name);
		snprintf(path, sizeof(path), "%s/%s", argv[1], names[i]->d_name);
		json_t *file = n > 5 && strcmp(names[i]->d_name + n - 5, ".json") == 0 ? json_load_file(path, 0, NULL) : NULL;
		if (file && have_server)
			run_file(&run, path, file);
		else if (file)
			run.skipped += json_array_size(file);
		if (file)
			json_array_append_new(files, file);
		free(names[i]);
	}
	free(names);
	for (size_t i = 0; i < run.count; i++)
		for (size_t k = 0; k < MAX_VARIANTS; k++)
			free(run.entries[i].plain[k]);
	free(run.entries);
	json_decref(files);
	if (have_server)
		fixture_stop(&run.f);
	if (run.deviations)
		printf("%zu of the passed are decided deviations (NaN and infinities, streamed domains, pinned settings)\n",
		       run.deviations);
	printf("%zu passed, %zu failed, %zu skipped\n", run.passed, run.failed, run.skipped);
	return run.failed ? 1 : 0;
}
