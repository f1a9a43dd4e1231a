/* test_document.c: docs/sync-config.md compiles: its examples, what it refuses and what it says to write instead. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "rules/plan_fixture.h"

struct document {
	char *text;
	struct slice rest;
	struct arena arena;
	const char *section; /* heading */
	size_t line, examples, rows;
};

static void open_document(struct document *d)
{
	*d = (struct document){.section = ""};
	FILE *f = fopen(TEST_DATA "/../../docs/sync-config.md", "rb");
	assert_non_null(f);
	d->text = xcalloc(1, 1 << 20);
	size_t n = fread(d->text, 1, (1 << 20) - 1, f);
	fclose(f);
	d->rest = slice_make(d->text, n);
}

static bool next_line(struct document *d, struct slice *line)
{
	if (!d->rest.n)
		return false;
	const char *end = memchr(d->rest.p, '\n', d->rest.n);
	*line = slice_make(d->rest.p, end ? (size_t)(end - d->rest.p) : d->rest.n);
	d->rest = slice_drop(d->rest, end ? line->n + 1 : line->n);
	d->line++;
	return true;
}

static void must_compile(const struct document *d, struct slice yaml)
{
	struct diagnostics list;
	struct plan *p = plan_compile(yaml, SLICE("public"), &list);
	for (size_t i = 0; i < list.count && !p; i++)
		print_message("%s: %.*s\n", list.items[i].class_name, SLICE_ARG(list.items[i].message));
	if (!p)
		fail_msg("line %zu does not compile:\n%.*s", d->line, SLICE_ARG(yaml));
	plan_unref(p);
	diagnostics_free(&list);
}

static void must_be_refused(const struct document *d, struct slice yaml, const char *class_name)
{
	struct diagnostics list;
	struct plan *p = plan_compile(yaml, SLICE("public"), &list);
	bool found = false;
	for (size_t i = 0; i < list.count; i++)
		found |= list.items[i].level == DIAGNOSTIC_FATAL && strcmp(list.items[i].class_name, class_name) == 0;
	if (p || !found)
		fail_msg("line %zu: %s wanted, got %s", d->line, class_name, list.count ? list.items[0].class_name : "nothing");
	diagnostics_free(&list);
}

static void run_example(struct document *d)
{
	const char *start = d->rest.p;
	struct slice line;
	while (next_line(d, &line) && !slice_eq(line, SLICE("```")))
		;
	must_compile(d, slice_make(start, (size_t)(line.p - start)));
	d->examples++;
}

/* The last `code` of a cell, with \| for |; p == NULL: none. */
static struct slice code_of(struct document *d, struct slice cell)
{
	const char *end = memrchr(cell.p, '`', cell.n);
	const char *start = end ? memrchr(cell.p, '`', (size_t)(end - cell.p)) : NULL;
	if (!start)
		return (struct slice){0};
	char *out = arena_bytes(&d->arena, cell.n);
	size_t n = 0;
	for (const char *p = start + 1; p < end; p++)
		if (p[0] != '\\' || p[1] != '|')
			out[n++] = *p;
	return slice_make(out, n);
}

static struct slice next_cell(struct slice *row)
{
	size_t n = 0;
	while (n < row->n && (row->p[n] != '|' || (n && row->p[n - 1] == '\\')))
		n++;
	struct slice cell = slice_make(row->p, n);
	*row = slice_drop(*row, n < row->n ? n + 1 : n);
	return cell;
}

static struct slice in_section(struct document *d, struct slice code)
{
	if (strcmp(d->section, "The file") == 0)
		return code;
	struct buf quoted = {0};
	json_append_string(&quoted, code);
	const char *format = strcmp(d->section, "Stream queries") == 0 ? "config: {edition: 3}\nstreams:\n  s: {query: %.*s}\n"
	                     : strcmp(d->section, "Data queries") == 0
	                             ? "bucket_definitions:\n  d: {parameters: SELECT request.user_id() AS p, data: [%.*s]}\n"
	                             : "bucket_definitions:\n  d: {parameters: %.*s, data: []}\n";
	char *text = arena_bytes(&d->arena, quoted.n + 200);
	int n = snprintf(text, quoted.n + 200, format, SLICE_ARG(buf_slice(&quoted)));
	buf_free(&quoted);
	return slice_make(text, (size_t)n);
}

static void run_row(struct document *d, struct slice row)
{
	next_cell(&row);
	struct slice class_name = code_of(d, next_cell(&row)), refused = code_of(d, next_cell(&row)),
	             instead = code_of(d, next_cell(&row));
	assert_non_null(class_name.p);
	assert_non_null(refused.p);
	assert_non_null(instead.p);
	must_be_refused(d, in_section(d, refused), arena_cstr(&d->arena, class_name));
	must_compile(d, in_section(d, instead));
	d->rows++;
}

static bool is_table_of_refusals(const struct document *d)
{
	static const char *const sections[] = {"Stream queries", "Data queries", "Parameter queries", "The file"};
	for (size_t i = 0; i < 4; i++)
		if (strcmp(d->section, sections[i]) == 0)
			return true;
	return false;
}

static void the_document_compiles(void **state)
{
	(void)state;
	struct document d;
	struct slice line;
	open_document(&d);
	while (next_line(&d, &line)) {
		if (slice_eq(line, SLICE("```yaml")))
			run_example(&d);
		else if (slice_starts(line, SLICE("### ")))
			d.section = arena_cstr(&d.arena, slice_drop(line, 4));
		else if (slice_starts(line, SLICE("## ")))
			d.section = "";
		else if (is_table_of_refusals(&d) && slice_starts(line, SLICE("| `")))
			run_row(&d, line);
	}
	assert_true(d.examples >= 6);
	assert_true(d.rows >= 80);
	arena_free(&d.arena);
	free(d.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_document_compiles)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
