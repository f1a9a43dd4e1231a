/* streams_text.c: canonical texts, signatures and key hashes of stream expressions (sync-streams 6). */
#include "rules/streams_expr.h"

static const struct {
	const char *text;
	int level;
} operators[] = {
        [SX_OR] = {"or", 1},     [SX_AND] = {"and", 2},   [SX_EQ] = {"=", 4},          [SX_IS] = {"is", 4},
        [SX_LT] = {"<", 5},      [SX_GT] = {">", 5},      [SX_LE] = {"<=", 5},         [SX_GE] = {">=", 5},
        [SX_BIT_AND] = {"&", 6}, [SX_BIT_OR] = {"|", 6},  [SX_SHIFT_LEFT] = {"<<", 6}, [SX_SHIFT_RIGHT] = {">>", 6},
        [SX_ADD] = {"+", 7},     [SX_SUB] = {"-", 7},     [SX_MUL] = {"*", 8},         [SX_DIV] = {"/", 8},
        [SX_MOD] = {"%", 8},     [SX_CONCAT] = {"||", 9}, [SX_NOT] = {"not", 3},       [SX_PLUS] = {"+", 11},
};

static void canonical(struct buf *out, const struct sx *e, int outer);

static void separated(struct buf *out, struct sx *const *args, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i)
			buf_lit(out, ", ");
		canonical(out, args[i], 0);
	}
}

static void canonical_literal(struct buf *out, const struct sx *e)
{
	if (!e->string) {
		buf_slice_append(out, e->name);
		return;
	}
	buf_putc(out, '\'');
	for (size_t i = 0; i < e->name.n; i++) {
		if (e->name.p[i] == '\'')
			buf_putc(out, '\'');
		buf_putc(out, e->name.p[i]);
	}
	buf_putc(out, '\'');
}

static void canonical_case(struct buf *out, const struct sx *e)
{
	uint32_t at = 0, end = e->arg_count - e->has_else;
	buf_lit(out, "CASE");
	if (e->has_operand) {
		buf_putc(out, ' ');
		canonical(out, e->args[at++], 0);
	}
	for (; at + 1 < end; at += 2) {
		buf_lit(out, " WHEN ");
		canonical(out, e->args[at], 0);
		buf_lit(out, " THEN ");
		canonical(out, e->args[at + 1], 0);
	}
	if (e->has_else) {
		buf_lit(out, " ELSE ");
		canonical(out, e->args[end], 0);
	}
	buf_lit(out, " END");
}

static void canonical_operator(struct buf *out, const struct sx *e, int level)
{
	switch (e->kind) {
	case SX_UNARY:
		buf_printf(out, "%s ", operators[e->op].text);
		canonical(out, e->args[0], level);
		break;
	case SX_BINARY:
		canonical(out, e->args[0], level);
		buf_printf(out, " %s ", operators[e->op].text);
		canonical(out, e->args[1], level);
		break;
	case SX_BETWEEN:
		canonical(out, e->args[0], level);
		buf_lit(out, " BETWEEN ");
		canonical(out, e->args[1], level);
		buf_lit(out, " AND ");
		canonical(out, e->args[2], level);
		break;
	default:
		canonical(out, e->args[0], level);
		buf_lit(out, " IN (");
		separated(out, e->args + 1, e->arg_count - 1);
		buf_putc(out, ')');
	}
}

/* An operand whose level is not stronger than the operator around it gets parentheses. */
static void canonical(struct buf *out, const struct sx *e, int outer)
{
	int level = 4;
	switch (e->kind) {
	case SX_COLUMN:
	case SX_TABLE_NAME:
	case SX_OUTPUT:
	case SX_REQUEST:
		buf_putc(out, '?');
		return;
	case SX_LITERAL:
		canonical_literal(out, e);
		return;
	case SX_CASE:
		canonical_case(out, e);
		return;
	case SX_CAST:
		buf_lit(out, "CAST(");
		canonical(out, e->args[0], 0);
		buf_printf(out, " AS %.*s)", SLICE_ARG(e->name));
		return;
	case SX_CALL:
		buf_printf(out, "\"%.*s\"(", SLICE_ARG(e->name));
		separated(out, e->args, e->arg_count);
		buf_putc(out, ')');
		return;
	case SX_IN:
		if (e->arg_count == 1) {
			buf_lit(out, "FALSE");
			return;
		}
		break;
	case SX_UNARY:
	case SX_BINARY:
		level = operators[e->op].level;
		break;
	default:
		break;
	}
	bool parentheses = outer && level <= outer;
	if (parentheses)
		buf_putc(out, '(');
	canonical_operator(out, e, level);
	if (parentheses)
		buf_putc(out, ')');
}

void sx_canonical(struct buf *out, const struct sx *e)
{
	canonical(out, e, 0);
}

/* ---- leaves ----------------------------------------------------------------------------------------------------------- */

static void collect(struct sx *e, const struct sx **out, size_t *count)
{
	if (e->kind <= SX_REQUEST)
		out[(*count)++] = e;
	for (uint32_t i = 0; i < e->arg_count; i++)
		collect(e->args[i], out, count);
}

const struct sx *const *sx_leaves(struct stream_compiler *s, struct sx *e, size_t *count)
{
	if (!e->leaves) {
		s->work += e->size / 8 + 1;
		e->leaves = arena_array(&s->c->scratch, const struct sx *, e->size + 1);
		collect(e, e->leaves, &e->leaf_count);
	}
	*count = e->leaf_count;
	return e->leaves;
}

struct slice sx_input_name(const struct sx *leaf)
{
	static const struct slice parts[] = {SLICE_INIT("table.schema"), SLICE_INIT("table.table_name"),
	                                     SLICE_INIT("table.table_suffix")};
	switch (leaf->kind) {
	case SX_TABLE_NAME:
		return parts[leaf->part];
	case SX_REQUEST:
		return leaf->request == REQUEST_JWT      ? SLICE("auth")
		       : leaf->request == REQUEST_CLIENT ? SLICE("connection")
		                                         : SLICE("subscription");
	default:
		return leaf->name;
	}
}

/* ---- signatures ------------------------------------------------------------------------------------------------------- */

struct slice source_signature(struct stream_compiler *s, struct stream_source *f)
{
	struct slice argument = sx_signature(s, f->argument);
	return arena_printf(&s->c->scratch, "json_each(%.*s)", SLICE_ARG(argument));
}

/* Canonical text and inputs: expressions with the same signature are equal, whatever alias they were written with. */
struct slice sx_signature(struct stream_compiler *s, struct sx *e)
{
	static const char kinds[] = {[SX_COLUMN] = 'c', [SX_TABLE_NAME] = 't', [SX_OUTPUT] = 'f', [SX_REQUEST] = 'r'};
	if (e->signature.p)
		return e->signature;
	struct buf out = {0};
	sx_canonical(&out, e);
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++) {
		buf_putc(&out, '\x1f');
		buf_putc(&out, kinds[leaves[i]->kind]);
		json_append_string(&out, sx_input_name(leaves[i]));
		if (leaves[i]->kind == SX_OUTPUT)
			buf_slice_append(&out, source_signature(s, leaves[i]->source));
	}
	s->work += out.n / 64 + 1;
	e->signature = arena_copy(&s->c->scratch, buf_slice(&out));
	buf_free(&out);
	return e->signature;
}

bool sx_same(struct stream_compiler *s, struct sx *a, struct sx *b)
{
	return a == b || slice_eq(sx_signature(s, a), sx_signature(s, b));
}

/* ---- key hash --------------------------------------------------------------------------------------------------------- */

static uint32_t hash_unit(uint32_t h, uint32_t unit)
{
	h = (h + unit) & 0x1fffffff;
	h = (h + ((h & 0x7ffff) << 10)) & 0x1fffffff;
	return h ^ h >> 6;
}

/* Adds every UTF-16 code unit of the text. */
static uint32_t hash_text(uint32_t h, struct slice text)
{
	for (size_t i = 0; i < text.n;) {
		unsigned char c = (unsigned char)text.p[i];
		size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
		uint32_t code = n == 1 ? c : c & (0xffu >> (n + 1));
		for (size_t k = 1; k < n && i + k < text.n; k++)
			code = code << 6 | ((unsigned char)text.p[i + k] & 0x3f);
		if (code >= 0x10000) {
			h = hash_unit(h, 0xd800 + ((code - 0x10000) >> 10));
			h = hash_unit(h, 0xdc00 + ((code - 0x10000) & 0x3ff));
		} else {
			h = hash_unit(h, code);
		}
		i += n;
	}
	return h;
}

static uint32_t hash_expression(struct stream_compiler *s, uint32_t h, struct sx *e)
{
	struct buf text = {0};
	sx_canonical(&text, e);
	h = hash_text(h, buf_slice(&text));
	buf_free(&text);
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++)
		h = hash_text(h, sx_input_name(leaves[i]));
	return h;
}

uint32_t sx_key_hash(struct stream_compiler *s, struct sx *e)
{
	uint32_t h = 614160925;
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++) {
		if (leaves[i]->kind != SX_OUTPUT)
			continue;
		h = hash_text(h, SLICE("json_each"));
		h = hash_expression(s, h, leaves[i]->source->argument);
		break;
	}
	h = hash_expression(s, h, e);
	h = (h + ((h & 0x3ffffff) << 3)) & 0x1fffffff;
	h ^= h >> 11;
	return (h + ((h & 0x3fff) << 15)) & 0x1fffffff;
}
