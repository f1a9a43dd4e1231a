/* The SQL front end: tokens, precedences, node ranges, what both dialects accept and what is a syntax error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rules/sql_parse.h"

static struct arena arena;

/* Prints a tree with full parentheses, operands separated by blanks. */
static void print(struct buf *out, const struct sql_expr *x, struct slice sql);

static void print_list(struct buf *out, struct sql_expr *const *items, size_t n, struct slice sql)
{
	for (size_t i = 0; i < n; i++) {
		buf_lit(out, " ");
		print(out, items[i], sql);
	}
}

static void print(struct buf *out, const struct sql_expr *x, struct slice sql)
{
	static const char *const is[] = {"null", "true", "false"};
	switch (x->kind) {
	case SQL_LITERAL:
		buf_slice_append(out, sql_text(sql, x->range));
		break;
	case SQL_NAME:
		if (sql_ident_given(&x->name.schema))
			buf_printf(out, "%.*s.", SLICE_ARG(x->name.schema.name));
		if (sql_ident_given(&x->name.table))
			buf_printf(out, "%.*s.", SLICE_ARG(x->name.table.name));
		buf_slice_append(out, x->name.column.name);
		break;
	case SQL_CALL:
		buf_lit(out, "(");
		if (sql_ident_given(&x->call.schema))
			buf_printf(out, "%.*s.", SLICE_ARG(x->call.schema.name));
		buf_slice_append(out, x->call.function.name);
		print_list(out, x->call.args, x->call.arg_count, sql);
		buf_lit(out, ")");
		break;
	case SQL_UNARY:
		buf_printf(out, "(%c ", x->unary.op);
		print(out, x->unary.operand, sql);
		buf_lit(out, ")");
		break;
	case SQL_BINARY:
		buf_lit(out, "(");
		print(out, x->binary.left, sql);
		buf_printf(out, " %.*s ", SLICE_ARG(x->binary.op_text));
		print(out, x->binary.right, sql);
		buf_lit(out, ")");
		break;
	case SQL_IS:
		buf_lit(out, "(");
		print(out, x->is.operand, sql);
		buf_printf(out, " is%s %s)", x->is.negated ? " not" : "", is[x->is.what]);
		break;
	case SQL_BETWEEN:
		buf_printf(out, "(%sbetween ", x->between.negated ? "not " : "");
		print_list(out, (struct sql_expr *const[]){x->between.operand, x->between.low, x->between.high}, 3, sql);
		buf_lit(out, ")");
		break;
	case SQL_MEMBER:
		buf_lit(out, "(");
		print(out, x->member.operand, sql);
		buf_printf(out, " %s %.*s)", x->member.as_json ? "->" : "->>", SLICE_ARG(sql_text(sql, x->member.key->range)));
		break;
	case SQL_CAST:
		buf_lit(out, "(");
		print(out, x->cast.operand, sql);
		buf_printf(out, " :: %.*s)", SLICE_ARG(x->cast.type));
		break;
	case SQL_CASE:
		buf_lit(out, "(case");
		if (x->cases.operand)
			print_list(out, &x->cases.operand, 1, sql);
		for (size_t i = 0; i < x->cases.when_count; i++)
			print_list(out, (struct sql_expr *const[]){x->cases.whens[i].when, x->cases.whens[i].then}, 2, sql);
		if (x->cases.otherwise)
			print_list(out, &x->cases.otherwise, 1, sql);
		buf_lit(out, ")");
		break;
	case SQL_LIST:
	case SQL_ARRAY:
		buf_printf(out, "(%s", x->kind == SQL_LIST ? "list" : "array");
		print_list(out, x->list.items, x->list.count, sql);
		buf_lit(out, ")");
		break;
	case SQL_SUBSELECT:
		buf_lit(out, "(select)");
		break;
	case SQL_PARAMETER:
		buf_lit(out, "(parameter)");
		break;
	case SQL_UNSUPPORTED:
		buf_printf(out, "(unsupported %d)", (int)x->unsupported);
		break;
	case SQL_STAR:
		buf_lit(out, "*");
		break;
	}
}

static struct sql_expr *expression(const char *sql)
{
	struct sql_expr *x = NULL;
	struct sql_fault fault;
	if (!sql_parse_expression(slice_cstr(sql), &arena, &x, &fault))
		print_error("%s: %.*s\n", sql, SLICE_ARG(fault.message));
	assert_non_null(x);
	return x;
}

static void check_tree(const char *sql, const char *want, const char *file, int line)
{
	struct buf out = {0};
	print(&out, expression(sql), slice_cstr(sql));
	if (!slice_eq(buf_slice(&out), slice_cstr(want))) {
		print_error("%s\ngot  %.*s\nwant %s\n", sql, SLICE_ARG(buf_slice(&out)), want);
		_fail(file, line);
	}
	buf_free(&out);
}
#define assert_tree(sql, want) check_tree((sql), (want), __FILE__, __LINE__)

static void check_text(const char *sql, struct sql_range range, const char *want, const char *file, int line)
{
	struct slice got = sql_text(slice_cstr(sql), range);
	if (!slice_eq(got, slice_cstr(want))) {
		print_error("got  %.*s\nwant %s\n", SLICE_ARG(got), want);
		_fail(file, line);
	}
}
#define assert_text(sql, range, want) check_text((sql), (range), (want), __FILE__, __LINE__)

/* The statement must have a syntax error at this text ("" for the whole). */
static void check_fault(const char *sql, enum sql_fault_kind kind, const char *at, const char *file, int line)
{
	struct sql_statement statement;
	struct sql_fault fault;
	if (sql_parse(slice_cstr(sql), &arena, &statement, &fault)) {
		print_error("accepted: %s\n", sql);
		_fail(file, line);
	}
	if (fault.kind != kind || fault.message.n == 0)
		_fail(file, line);
	check_text(sql, fault.range, *at ? at : sql, file, line);
}
#define assert_syntax(sql, at) check_fault((sql), SQL_FAULT_SYNTAX, (at), __FILE__, __LINE__)

static struct sql_statement parsed(const char *sql)
{
	struct sql_statement statement;
	struct sql_fault fault;
	if (!sql_parse(slice_cstr(sql), &arena, &statement, &fault)) {
		print_error("%s: %.*s\n", sql, SLICE_ARG(fault.message));
		fail();
	}
	return statement;
}

/* ---- expressions ------------------------------------------------------------------------------------------------------- */

static void precedences_are_those_of_the_dialect(void **state)
{
	(void)state;
	assert_tree("a or b and not c = d", "(a or (b and (! (c = d))))");
	assert_tree("a = b is null", "(a = (b is null))");
	assert_tree("a < b = c", "((a < b) = c)");
	assert_tree("a = b = c", "((a = b) = c)");
	assert_tree("a < b < c", "((a < b) < c)");
	assert_tree("1 || 2 + 3", "((1 || 2) + 3)");
	assert_tree("x || j ->> 'k'", "(x || (j ->> 'k'))");
	assert_tree("1 + j ->> 'k'", "(1 + (j ->> 'k'))");
	assert_tree("j ->> 'k'::integer", "((j ->> 'k') :: integer)");
	assert_tree("a + 1 in b", "((a + 1) in b)");
	assert_tree("x in a || b", "(x in (a || b))");
	assert_tree("not a in b", "(! (a in b))");
	assert_tree("a * b + c / d - e", "(((a * b) + (c / d)) - e)");
	assert_tree("a between 1 and 2 and b", "((between  a 1 2) and b)");
	assert_tree("a not between b || c and 2 = d", "((not between  a (b || c) 2) = d)");
	assert_tree("a like b in c", "(a like (b in c))");
	assert_tree("a & b < c ^ d % e", "((a & b) < ((c ^ d) % e))");
	assert_tree("- a * b", "((- a) * b)");
	assert_tree("- a -> 'k'", "(- (a -> 'k'))");
	assert_tree("a && b || c", "((a && b) || c)");
	assert_tree("a -> 'x' ->> 'y' -> 0", "(((a -> 'x') ->> 'y') -> 0)");
	assert_tree("not not a isnull", "(! (! (a is null)))");
	assert_tree("a is not true is false", "((a is not true) is false)");
	assert_tree("a AT time ZONE b + c", "((a AT time ZONE b) + c)");
}

static void forms_of_both_dialects(void **state)
{
	(void)state;
	assert_tree("'a' in bucket.list", "('a' in bucket.list)");
	assert_tree("a in (b)", "(a in b)");
	assert_tree("a in (b, 'c')", "(a in (list b 'c'))");
	assert_tree("a not in array['x', b + 1]", "(a not in (array 'x' (b + 1)))");
	assert_tree("a in array[]", "(a in (array))");
	assert_tree("a in row(1, 2)", "(a in (row 1 2))");
	assert_tree("a in (select b from c)", "(a in (select))");
	assert_tree("case when a then b end", "(case a b)");
	assert_tree("case a when 1 then 2 when 3 then 4 else c end", "(case a 1 2 3 4 c)");
	assert_tree("cast(a + b as Integer)", "((a + b) :: integer)");
	assert_tree("a::pg_catalog.Text(5)[]", "(a :: text[])");
	assert_tree("integer '5'", "('5' :: integer)");
	assert_tree("double precision '5'", "('5' :: double precision)");
	assert_tree("a::timestamp with time zone = b", "((a :: timestamp with zone) = b)");
	assert_tree("auth.parameter('x')", "(auth.parameter 'x')");
	assert_tree("Coalesce(A, T.\"B\")", "(coalesce a t.B)");
	assert_tree("s.t.c", "s.t.c");
	assert_tree("$1", "(parameter)");
	assert_tree("a[1]", "(unsupported 0)");
	assert_tree("current_date", "(unsupported 1)");
	assert_tree("current_time(3)", "(unsupported 1)");
	assert_tree("default", "(unsupported 2)");
	assert_tree("extract(year from a)", "(unsupported 3)");
	assert_tree("extract(a, b)", "(extract a b)");
	assert_tree("substring(a from 1 for 2)", "(unsupported 4)");
	assert_tree("substring(a, 1)", "(substring a 1)");
	assert_tree("overlay(a placing b from 1)", "(unsupported 5)");
	assert_tree("array(select 1)", "(unsupported 6)");
	assert_tree("exists(select 1)", "(exists)");
	assert_tree("any(a)", "(any a)");
	assert_tree("position(a in b)", "(position (a in b))");
	assert_tree("value || values || \"select\"", "((value || values) || select)");
	assert_true(expression("count(distinct a)")->call.decorated);
	assert_true(expression("count(*)")->call.star);
	assert_true(expression("f(a order by b desc nulls last) filter (where c) over (partition by (d))")->call.decorated);
}

static void numbers_take_a_minus_that_touches_them(void **state)
{
	(void)state;
	assert_tree("a - -5", "(a - -5)");
	assert_tree("a- 5", "(a - 5)");
	assert_tree("-.5", "-.5");
	assert_tree("5.", "5.");
	assert_tree("a=-1", "(a = -1)");
	assert_tree("a||-1", "(a || -1)");
	assert_syntax("select a-5 from t", "-5");
	assert_syntax("select a -5 from t", "-5");
}

static void literals_have_values(void **state)
{
	(void)state;
	struct sql_expr *x = expression("9007199254740993");
	assert_int_equal(x->literal.value.i, 9007199254740992);
	assert_int_equal(x->literal.exact, 9007199254740993);
	assert_false(x->literal.exact_overflow || x->literal.value_overflow);
	x = expression("9223372036854775807");
	assert_true(x->literal.value_overflow);
	assert_false(x->literal.exact_overflow);
	x = expression("-9223372036854775809");
	assert_true(x->literal.exact_overflow);
	assert_false(x->literal.value_overflow);
	x = expression("1.0");
	assert_int_equal(x->literal.value.kind, VALUE_REAL);
	assert_true(expression("TRUE")->literal.value.i == 1);
	assert_int_equal(expression("null")->literal.value.kind, VALUE_NULL);
	assert_true(slice_eq(expression("'it''s \\n'")->literal.value.s, SLICE("it's \\n")));
	assert_true(slice_eq(expression("''''")->literal.value.s, SLICE("'")));
	assert_true(slice_eq(expression("E'a\\nb\\\\\\/\\\"\\ '")->literal.value.s, SLICE("a\nb\\/\" ")));
}

static void ranges_leave_parentheses_out(void **state)
{
	(void)state;
	const char *sql = "(a + 1) LIKE (b)";
	assert_text(sql, expression(sql)->range, "a + 1) LIKE (b");
	sql = "((a))";
	assert_text(sql, expression(sql)->range, "a");
	sql = "NOT (a)";
	assert_text(sql, expression(sql)->range, "NOT (a");
	sql = "(a)::text";
	assert_text(sql, expression(sql)->range, "a)::text");
	sql = "( 1 , (2) )";
	assert_text(sql, expression(sql)->range, "1 , (2");
	sql = "x in ( select a from b )";
	assert_text(sql, expression(sql)->binary.right->range, "select a from b");
	assert_text(sql, expression(sql)->binary.op_range, "in");
	sql = " f ( (a) ) ";
	assert_text(sql, expression(sql)->range, "f ( (a) )");
	sql = "(a) NOT  IN (b)";
	assert_text(sql, expression(sql)->binary.op_range, "NOT  IN");
}

/* ---- statements -------------------------------------------------------------------------------------------------------- */

static void columns_and_aliases(void **state)
{
	(void)state;
	const char *sql = "; SELECT a, T.*, *, (b) AS X, c + 1 \"Q\", d filter, count(*) over FROM \"S\".Tab AS al WHERE (x);;";
	struct sql_select *s = parsed(sql).select;
	assert_int_equal(s->column_count, 7);
	assert_text(sql, s->columns[0].range, "a");
	assert_int_equal(s->columns[1].expr->kind, SQL_STAR);
	assert_true(slice_eq(s->columns[1].expr->star.qualifier.name, SLICE("t")));
	assert_true(sql_ident_has_upper_case(&s->columns[1].expr->star.qualifier));
	assert_false(sql_ident_given(&s->columns[2].expr->star.qualifier));
	assert_text(sql, s->columns[3].range, "b) AS X");
	assert_text(sql, s->columns[3].expr->range, "b");
	assert_true(slice_eq(s->columns[3].alias.source, SLICE("X")));
	assert_true(slice_eq(s->columns[3].alias.name, SLICE("x")));
	assert_true(s->columns[4].alias.quoted);
	assert_false(sql_ident_has_upper_case(&s->columns[4].alias));
	assert_true(slice_eq(s->columns[5].alias.name, SLICE("filter")));
	assert_true(slice_eq(s->columns[6].alias.name, SLICE("over")));
	assert_int_equal(s->from_count, 1);
	assert_text(sql, s->from[0].range, "\"S\".Tab");
	assert_text(sql, s->from[0].full_range, "\"S\".Tab AS al");
	assert_true(s->from[0].schema.quoted);
	assert_text(sql, s->range,
	            "SELECT a, T.*, *, (b) AS X, c + 1 \"Q\", d filter, count(*) over FROM \"S\".Tab AS al WHERE (x)");
	assert_text(sql, s->node_range,
	            "SELECT a, T.*, *, (b) AS X, c + 1 \"Q\", d filter, count(*) over FROM \"S\".Tab AS al WHERE (x");
	assert_int_equal(parsed("select").select->column_count, 0);
	assert_int_equal(parsed("select from t").select->column_count, 0);
	assert_int_equal(parsed("select where 1").select->from_count, 0);
}

static void joins_and_sources(void **state)
{
	(void)state;
	const char *sql =
	        "select * from a, s.b x join (select c from d) as e (f, G) on a.i = e.f inner join json_each(a.l) j on 1 "
	        "left outer join g using (h) natural join k cross join auth.f(1) full join m on 2 right join n on 3";
	struct sql_select *s = parsed(sql).select;
	const enum sql_join joins[] = {SQL_JOIN_FIRST,   SQL_JOIN_COMMA, SQL_JOIN_INNER, SQL_JOIN_INNER, SQL_JOIN_LEFT,
	                               SQL_JOIN_NATURAL, SQL_JOIN_CROSS, SQL_JOIN_FULL,  SQL_JOIN_RIGHT};
	assert_int_equal(s->from_count, 9);
	for (size_t i = 0; i < 9; i++)
		assert_int_equal(s->from[i].join, joins[i]);
	assert_true(slice_eq(s->from[1].schema.name, SLICE("s")));
	assert_int_equal(s->from[2].kind, SQL_FROM_SUBSELECT);
	assert_int_equal(s->from[2].column_alias_count, 2);
	assert_true(slice_eq(s->from[2].column_aliases[1].name, SLICE("g")));
	assert_text(sql, s->from[2].range, "(select c from d)");
	assert_text(sql, s->from[2].on->range, "a.i = e.f");
	assert_int_equal(s->from[3].kind, SQL_FROM_CALL);
	assert_true(slice_eq(s->from[3].alias.name, SLICE("j")));
	assert_true(s->from[4].using_columns);
	assert_text(sql, s->from[4].using_range, "using (h)");
	assert_true(slice_eq(s->from[6].call->call.schema.name, SLICE("auth")));
}

static void refused_clauses_are_recorded(void **state)
{
	(void)state;
	const char *sql = "select distinct a from t group by (b), c having d > 1 order by (e) desc, f limit 5 offset 3 for no "
	                  "key update skip locked";
	struct sql_select *s = parsed(sql).select;
	const struct {
		enum sql_clause_kind kind;
		const char *text;
	} want[] = {
	        {SQL_CLAUSE_DISTINCT, "distinct"},    {SQL_CLAUSE_GROUP_BY, "b"},       {SQL_CLAUSE_HAVING, "d > 1"},
	        {SQL_CLAUSE_ORDER_BY, "e) desc"},     {SQL_CLAUSE_LIMIT, "5 offset 3"}, {SQL_CLAUSE_FOR, "no key update"},
	        {SQL_CLAUSE_FOR_WAIT, "skip locked"},
	};
	assert_int_equal(s->clause_count, 7);
	for (size_t i = 0; i < 7; i++) {
		assert_int_equal(s->clauses[i].kind, want[i].kind);
		assert_text(sql, s->clauses[i].range, want[i].text);
	}
	sql = "select all a from t offset 3 rows";
	s = parsed(sql).select;
	assert_int_equal(s->clauses[0].kind, SQL_CLAUSE_ALL);
	assert_text(sql, s->clauses[1].range, "offset 3 rows");
}

static void other_statements_and_second_ones(void **state)
{
	(void)state;
	check_fault("INSERT INTO t VALUES (1)", SQL_FAULT_NOT_SELECT, "", __FILE__, __LINE__);
	check_fault("with a as (select 1) select 2", SQL_FAULT_NOT_SELECT, "", __FILE__, __LINE__);
	check_fault(" values (1)", SQL_FAULT_NOT_SELECT, "", __FILE__, __LINE__);
	struct sql_statement s = parsed("select a from t; drop table t; x");
	assert_true(s.several);
	assert_text("select a from t; drop table t; x", s.second, "drop table t");
	assert_true(parsed("select 1 union all select 2").select->set_operation);
	assert_false(parsed("select 1;").several);
	assert_syntax("select 1; x", "x");
}

static void syntax_errors_point_at_the_token(void **state)
{
	(void)state;
	assert_syntax("", "");
	assert_syntax(" ; ", "");
	assert_syntax("select a from", "");
	assert_syntax("select a from (t)", "t");
	assert_syntax("select a from only t", "only");
	assert_syntax("select a from t where b = ", "");
	assert_syntax("select a from t where b == 1", "=");
	assert_syntax("select a,, b from t", ",");
	assert_syntax("select a is 1", "1");
	assert_syntax("select a is null < b", "<");
	assert_syntax("select t.order from t", "order");
	assert_syntax("select a as user from t", "user");
	assert_syntax("select a from t as group", "group");
	assert_syntax("select left(a, 1)", "left");
	assert_syntax("select a ->> b", "b");
	assert_syntax("select a ->> (b)", "(");
	assert_syntax("select case a end", "end");
	assert_syntax("select cast(a)", ")");
	assert_syntax("(select 1)", "(");
	assert_syntax("select `a`", "`");
	assert_syntax("select $$a$$", "$");
	assert_syntax("select :a", ":");
	assert_syntax("select X'ab'", "X");
	assert_syntax("select 'a' 'b'", "'b'");
	assert_syntax("select 'open", "'");
	assert_syntax("select \"open", "\"");
	assert_syntax("select \"\"", "\"");
	assert_syntax("select \"a*\"", "\"");
	assert_syntax("select E'\\x41'", "\\");
	assert_syntax("select E'\\''", "\\");
	assert_syntax("select 1 /* /* */", "/");
	assert_syntax("select \xc3\xa9 from t", "\xc3\xa9");
	assert_syntax("select a.b.c.d", "d");
}

static void comments_are_blanks(void **state)
{
	(void)state;
	assert_tree("a -- x\n + /* b /* c */ d */ 1 --", "(a + 1)");
	assert_tree("a--1\n", "a");
}

static void quoted_names_keep_doubled_quotes(void **state)
{
	(void)state;
	assert_true(slice_eq(expression("\"a\"\"b\"")->name.column.name, SLICE("a\"\"b")));
}

/* ---- limits ------------------------------------------------------------------------------------------------------------ */

/* before * n + middle + after * n, as a WHERE */
static bool parses_repeated(const char *before, const char *middle, const char *after, size_t n)
{
	struct buf sql = {0};
	struct arena a = {0};
	struct sql_statement statement;
	struct sql_fault fault;
	buf_lit(&sql, "select * from t where ");
	for (size_t i = 0; i < n; i++)
		buf_slice_append(&sql, slice_cstr(before));
	buf_slice_append(&sql, slice_cstr(middle));
	for (size_t i = 0; i < n; i++)
		buf_slice_append(&sql, slice_cstr(after));
	bool ok = sql_parse(buf_slice(&sql), &a, &statement, &fault);
	if (ok)
		assert_true(statement.select->height <= SQL_MAX_HEIGHT);
	arena_free(&a);
	buf_free(&sql);
	return ok;
}

static void depth_and_size_are_bounded(void **state)
{
	(void)state;
	const char *const nests[][2] = {{"(", ")"},
	                                {"not ", ""},
	                                {"- ", ""},
	                                {"f(", ")"},
	                                {"case when ", " then 1 end"},
	                                {"a in (select b from c where ", ")"},
	                                {"array[", "]"},
	                                {"1 = (1 + ", ")"},
	                                {"a[", "]"}};
	for (size_t i = 0; i < sizeof(nests) / sizeof(nests[0]); i++) {
		assert_true(parses_repeated(nests[i][0], "x", nests[i][1], 90));
		assert_false(parses_repeated(nests[i][0], "x", nests[i][1], 100000 / strlen(nests[i][0])));
	}
	assert_true(parses_repeated("", "x", " or x", 1500));
	assert_false(parses_repeated("", "x", " or x", 3000));
	assert_false(parses_repeated("", "x", "::text", 3000));
	assert_false(parses_repeated("x, ", "x", "", 200000));
}

/* Every prefix of a statement with everything in it, and the same with a byte changed: no crash, no read beyond the end. */
static void damaged_texts_are_harmless(void **state)
{
	(void)state;
	const char *sql = "SELECT a, \"b\" AS c, CASE WHEN x THEN 'y''z' ELSE E'\\n' END, t.* FROM s.t x JOIN (SELECT 1) AS q "
	                  "(w) ON a -> 'k' "
	                  "IN ARRAY[1, -2.5] /* c */ WHERE NOT a BETWEEN 1 AND 2 AND f(DISTINCT b ORDER BY c) OVER () LIMIT 1 "
	                  "FOR UPDATE; x";
	size_t n = strlen(sql);
	for (size_t i = 0; i < n; i++) {
		struct sql_statement statement;
		struct sql_fault fault;
		struct arena a = {0};
		char *copy = malloc(i + 1);
		memcpy(copy, sql, i);
		sql_parse(slice_make(copy, i), &a, &statement, &fault);
		copy = realloc(copy, n);
		for (int c = 0; c < 128; c += 3) {
			memcpy(copy, sql, n);
			copy[i] = (char)c;
			sql_parse(slice_make(copy, n), &a, &statement, &fault);
			arena_reset(&a);
		}
		free(copy);
		arena_free(&a);
	}
}

static int free_arena(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(precedences_are_those_of_the_dialect),
	        cmocka_unit_test(forms_of_both_dialects),
	        cmocka_unit_test(numbers_take_a_minus_that_touches_them),
	        cmocka_unit_test(literals_have_values),
	        cmocka_unit_test(ranges_leave_parentheses_out),
	        cmocka_unit_test(columns_and_aliases),
	        cmocka_unit_test(joins_and_sources),
	        cmocka_unit_test(refused_clauses_are_recorded),
	        cmocka_unit_test(other_statements_and_second_ones),
	        cmocka_unit_test(syntax_errors_point_at_the_token),
	        cmocka_unit_test(comments_are_blanks),
	        cmocka_unit_test(quoted_names_keep_doubled_quotes),
	        cmocka_unit_test(depth_and_size_are_bounded),
	        cmocka_unit_test(damaged_texts_are_harmless),
	};
	return cmocka_run_group_tests_name("sql_parse", tests, NULL, free_arena);
}
