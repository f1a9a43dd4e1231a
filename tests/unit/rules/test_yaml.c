/* test_yaml.c: YAML as a positioned tree. */
#include "rules/plan_fixture.h"
#include "rules/yaml_tree.h"

static struct ydoc read_yaml(const char *text, struct arena *arena)
{
	struct ydoc doc;
	ydoc_read(&doc, slice_cstr(text), arena);
	return doc;
}

static struct ynode *member(struct ynode *map, const char *key)
{
	for (size_t i = 0; i + 1 < map->count; i += 2)
		if (slice_eq(map->items[i]->text, slice_cstr(key)))
			return map->items[i + 1];
	fail_msg("no key %s", key);
	return NULL;
}

static void maps_lists_and_scalars_become_nodes(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct ydoc doc = read_yaml("a: 1\nb: [x, 'y']\nc:\n  d: true\n", &arena);
	assert_false(doc.failed);
	assert_int_equal(doc.root->kind, YNODE_MAP);
	assert_int_equal(doc.root->count, 6);
	assert_int_equal(ynode_scalar_type(member(doc.root, "a")), YSCALAR_NUMBER);
	struct ynode *list = member(doc.root, "b");
	assert_int_equal(list->kind, YNODE_LIST);
	assert_slice(list->items[1]->text, "y");
	assert_int_equal(ynode_scalar_type(member(member(doc.root, "c"), "d")), YSCALAR_BOOL);
	arena_free(&arena);
}

static void scalars_follow_the_core_schema(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum yscalar_type type;
	} cases[] = {{"yes", YSCALAR_TEXT},    {"True", YSCALAR_BOOL},   {"0x1f", YSCALAR_NUMBER}, {"1e0", YSCALAR_NUMBER},
	             {"1.", YSCALAR_NUMBER},   {"~", YSCALAR_NULL},      {"'5'", YSCALAR_TEXT},    {"!!str 5", YSCALAR_TEXT},
	             {".inf", YSCALAR_NUMBER}, {"0o17", YSCALAR_NUMBER}, {"1_000", YSCALAR_TEXT},  {"0x", YSCALAR_TEXT}};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct arena arena = {0};
		char text[64];
		snprintf(text, sizeof(text), "k: %s\n", cases[i].text);
		struct ydoc doc = read_yaml(text, &arena);
		assert_int_equal(ynode_scalar_type(member(doc.root, "k")), cases[i].type);
		arena_free(&arena);
	}
}

static void broken_documents_are_refused_with_a_place(void **state)
{
	(void)state;
	static const char *const texts[] = {"a: [1\n",      "a: 1\na: 2\n", "a: 1\n---\nb: 1\n",
	                                    "a:\n\tb: 1\n", "\xff\xfe",     "a: \"x\n"};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct arena arena = {0};
		struct ydoc doc = read_yaml(texts[i], &arena);
		assert_true(doc.failed);
		assert_null(doc.root);
		assert_true(doc.problem_start <= strlen(texts[i]));
		arena_free(&arena);
	}
}

static void aliases_are_nodes_of_their_own_kind(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct ydoc doc = read_yaml("a: &x {b: 1}\nc: *x\n", &arena);
	assert_int_equal(member(doc.root, "c")->kind, YNODE_ALIAS);
	assert_int_equal(member(doc.root, "a")->start, 6); /* after the anchor */
	arena_free(&arena);
}

static void depth_and_size_are_bounded(void **state)
{
	(void)state;
	struct buf text = {0};
	struct arena arena = {0};
	for (int i = 0; i < 100000; i++)
		buf_putc(&text, '[');
	buf_putc(&text, '\0');
	struct ydoc doc = read_yaml(text.p, &arena);
	assert_true(doc.failed);
	buf_clear(&text);
	buf_lit(&text, "a:\n");
	for (int i = 0; i < 300000; i++)
		buf_lit(&text, " - b\n");
	buf_putc(&text, '\0');
	doc = read_yaml(text.p, &arena);
	assert_true(doc.failed);
	buf_free(&text);
	arena_free(&arena);
}

/* Every character of the decoded text must be where the map says; escapes are checked by hand. */
static void positions_inside_scalars_lead_back_to_the_text(void **state)
{
	(void)state;
	static const char *const texts[] = {
	        "k: plain words here # c\n",
	        "k: 'it''s quoted'\n",
	        "k: \"with \\\"escapes\\\" and \\u00e4\"\n",
	        "k: |\n  first line\n    indented\n\n  last\n",
	        "k: >-\n  folded\n  lines\n\n  paragraph\n    kept\n  end\n",
	        "k: many\n  plain\n\n  lines\n",
	        "k: 'many\n  quoted\n\n  lines'\n",
	        "k: |2\n  x\n   y\n",
	        "k: |\r\n  crlf\r\n  lines\r\n",
	        "\xef\xbb\xbfk: \xc3\xa4\xe2\x82\xac x\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct arena arena = {0};
		struct ydoc doc = read_yaml(texts[i], &arena);
		assert_false(doc.failed);
		struct ynode *n = doc.root->items[1];
		for (size_t j = 0; j < n->text.n; j++) {
			char from = doc.text.p[ynode_offset(&doc, n, j)], c = n->text.p[j];
			bool escape = from == '\\' || from == '\'';
			bool line_break = (c == ' ' || c == '\n') && (from == '\n' || from == '\r');
			if (from != c && !escape && !line_break)
				fail_msg("text %zu, character %zu: '%c' is mapped to '%c'", i, j, c, from);
		}
		assert_true(ynode_offset(&doc, n, n->text.n) <= doc.text.n);
		arena_free(&arena);
	}
}

static void diagnostics_count_in_utf16_and_lines(void **state)
{
	(void)state;
	struct diagnostics d;
	/* The emoji is two UTF-16 units and one character. */
	struct plan *p = plan_compile(
	        SLICE("# \xf0\x9f\x98\x80\nbucket_definitions:\n  a:\n    data:\n      - SELECT id, nofn(id) AS x FROM t\n"),
	        SLICE("public"), &d);
	assert_null(p);
	assert_int_equal(d.count, 1);
	assert_string_equal(d.items[0].class_name, "function_undefined");
	assert_int_equal(d.items[0].line, 5);
	assert_int_equal(d.items[0].column, 20);
	assert_int_equal(d.items[0].start, 5 + 20 + 5 + 10 + 19);
	assert_int_equal(d.items[0].end - d.items[0].start, 8);
	diagnostics_free(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(maps_lists_and_scalars_become_nodes),
	        cmocka_unit_test(scalars_follow_the_core_schema),
	        cmocka_unit_test(broken_documents_are_refused_with_a_place),
	        cmocka_unit_test(aliases_are_nodes_of_their_own_kind),
	        cmocka_unit_test(depth_and_size_are_bounded),
	        cmocka_unit_test(positions_inside_scalars_lead_back_to_the_text),
	        cmocka_unit_test(diagnostics_count_in_utf16_and_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
