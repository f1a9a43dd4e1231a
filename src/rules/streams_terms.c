/* streams_terms.c: WHERE in disjunctive normal form, conditions classified and merged (sync-streams 4.5). */
#include "rules/streams_variant.h"

/* ---- normal form ------------------------------------------------------------------------------------------------------ */

struct terms {
	struct stream_term *items;
	size_t count;
};

/* Terms on the way live in an arena of their own: a long chain copies them at every step. */
struct normalizer {
	struct stream_compiler *s;
	struct arena arena;
};

static bool too_many(struct stream_compiler *s, struct sx *e)
{
	sx_fail(s, e->q, "too-many-terms", e->range, "the condition has too many alternatives");
	return false;
}

/* a OR b: the terms of both. */
static bool either(struct normalizer *n, struct sx *e, const struct terms *a, const struct terms *b, struct terms *out)
{
	if (a->count + b->count > STREAM_MAX_TERMS)
		return too_many(n->s, e);
	out->count = a->count + b->count;
	out->items = arena_array(&n->arena, struct stream_term, out->count);
	memcpy(out->items, a->items, sizeof(*a->items) * a->count);
	memcpy(out->items + a->count, b->items, sizeof(*b->items) * b->count);
	return true;
}

static void append_atoms(struct stream_term *to, const struct stream_term *from)
{
	for (size_t i = 0; i < from->count; i++)
		to->atoms[to->count++] = from->atoms[i];
}

/* AND over members: the product of those with several terms, the first slowest; then the atoms of the plain ones in order. */
static bool all_of(struct normalizer *n, struct sx *e, const struct terms *members, size_t member_count, struct terms *out)
{
	size_t terms = 1, atoms = 0;
	for (size_t i = 0; i < member_count; i++) {
		terms *= members[i].count;
		if (terms > STREAM_MAX_TERMS)
			return too_many(n->s, e);
		size_t most = 0;
		for (size_t j = 0; j < members[i].count; j++)
			most = members[i].items[j].count > most ? members[i].items[j].count : most;
		atoms += most;
	}
	if (atoms > STREAM_MAX_CONDITIONS)
		return too_many(n->s, e);
	out->count = terms;
	out->items = arena_array(&n->arena, struct stream_term, terms);
	for (size_t k = 0; k < terms; k++) {
		struct stream_term *t = &out->items[k];
		*t = (struct stream_term){.atoms = arena_array(&n->arena, struct sx *, atoms + 1)};
		size_t block = terms;
		for (size_t i = 0; i < member_count; i++) {
			if (members[i].count < 2)
				continue;
			block /= members[i].count;
			append_atoms(t, &members[i].items[k / block % members[i].count]);
		}
		for (size_t i = 0; i < member_count; i++)
			if (members[i].count == 1)
				append_atoms(t, &members[i].items[0]);
	}
	return true;
}

static bool one_term(struct normalizer *n, struct sx *atom, struct terms *out)
{
	if (!atom)
		return false;
	out->count = 1;
	out->items = arena_array(&n->arena, struct stream_term, 1);
	out->items[0] = (struct stream_term){.atoms = arena_array(&n->arena, struct sx *, 1), .count = 1};
	out->items[0].atoms[0] = atom;
	return true;
}

/* NOT is pushed to the atoms on the way down. Depth is bounded by the height of expressions. */
static bool normal_form(struct normalizer *n, struct sx *e, bool negated, struct terms *out)
{
	if (e->kind == SX_UNARY && e->op == SX_NOT)
		return normal_form(n, e->args[0], !negated, out);
	if (e->kind == SX_BINARY && (e->op == SX_AND || e->op == SX_OR)) {
		struct terms members[2];
		if (!normal_form(n, e->args[0], negated, &members[0]) || !normal_form(n, e->args[1], negated, &members[1]))
			return false;
		if ((e->op == SX_OR) != negated)
			return either(n, e, &members[0], &members[1], out);
		return all_of(n, e, members, 2, out);
	}
	return one_term(n, negated ? sx_not(n->s, e) : e, out);
}

/* ---- kinds of conditions ---------------------------------------------------------------------------------------------- */

static struct stream_source *owner_of(const struct sx *leaf)
{
	struct stream_source *f = leaf->source;
	return f->kind == SOURCE_EACH && f->attached ? f->attached : f;
}

struct owners owners_of(struct stream_compiler *s, struct sx *e)
{
	struct owners out = {0};
	struct stream_source *second = NULL;
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++) {
		/* What stands over json_each of the request counts as a source of its own. */
		if (leaves[i]->kind == SX_REQUEST) {
			out.count += !out.request;
			out.request = true;
			continue;
		}
		struct stream_source *o = owner_of(leaves[i]);
		if (!out.source) {
			out.source = o;
			out.count++;
		} else if (o != out.source && o != second) {
			second = o;
			out.count++;
		}
	}
	return out;
}

/* Different json_eachs of tables in the expression, counted up to 2. */
static size_t attached_functions(struct stream_compiler *s, struct sx *e)
{
	struct stream_source *first = NULL;
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++) {
		struct stream_source *f = leaves[i]->kind == SX_OUTPUT ? leaves[i]->source : NULL;
		if (!f || !f->attached)
			continue;
		if (first && first != f)
			return 2;
		first = f;
	}
	return first != NULL;
}

static enum condition_kind fault(struct stream_compiler *s, struct sx *e, const char *kind, const char *message)
{
	sx_fail(s, e->q, kind, e->range, message);
	return CONDITION_FAULT;
}

enum condition_kind condition_kind(struct stream_compiler *s, struct sx *e)
{
	struct owners o = owners_of(s, e);
	bool equality = e->kind == SX_BINARY && e->op == SX_EQ;
	if (!o.source)
		return CONDITION_REQUEST;
	if (o.count == 1) {
		if (attached_functions(s, e) < 2)
			return CONDITION_ROW;
		bool sides = equality && attached_functions(s, e->args[0]) < 2 && attached_functions(s, e->args[1]) < 2;
		return fault(s, e, sides ? "unrelated-filter" : "mixed-tables", "two table functions cannot be compared");
	}
	if (equality && owners_of(s, e->args[0]).count <= 1 && owners_of(s, e->args[1]).count <= 1)
		return CONDITION_EQUAL;
	if (o.request)
		return fault(s, e, "mixed-row-and-request", "only = and IN can compare a row with the request");
	return fault(s, e, "mixed-tables", "only = can compare two tables");
}

/* A json_each over constants belongs to the first table of which it is compared with a column. */
static void attach_constants(struct stream_compiler *s, const struct stream_term *t)
{
	for (size_t i = 0; i < t->count; i++) {
		size_t count;
		const struct sx *const *leaves = sx_leaves(s, t->atoms[i], &count);
		for (size_t j = 0; j < count; j++) {
			struct stream_source *f = leaves[j]->kind == SX_OUTPUT ? leaves[j]->source : NULL;
			if (!f || !f->constant || f->attached)
				continue;
			for (size_t k = 0; k < count && !f->attached; k++)
				if (leaves[k]->kind == SX_COLUMN || leaves[k]->kind == SX_TABLE_NAME)
					f->attached = leaves[k]->source;
		}
	}
}

/* ---- merging ---------------------------------------------------------------------------------------------------------- */

struct row_condition {
	struct stream_source *source;
	struct sx *e;
};

/* Equalities in order, then one request condition, then one row condition per source (that it names last). */
static bool merge(struct stream_compiler *s, struct sx *const *atoms, size_t count, enum sx_op op, struct stream_term *out)
{
	struct sx *request = NULL;
	struct row_condition *rows = arena_array(&s->c->scratch, struct row_condition, count + 1);
	size_t row_count = 0;
	*out = (struct stream_term){.atoms = arena_array(&s->c->scratch, struct sx *, count + 1)};
	for (size_t i = 0; i < count; i++) {
		struct sx *e = atoms[i];
		size_t leaf_count, at = 0;
		switch (condition_kind(s, e)) {
		case CONDITION_FAULT:
			return false;
		case CONDITION_EQUAL:
			out->atoms[out->count++] = e;
			break;
		case CONDITION_REQUEST:
			request = request ? sx_binary(s, op, request, e) : e;
			if (!request)
				return false;
			break;
		case CONDITION_ROW: {
			const struct sx *const *leaves = sx_leaves(s, e, &leaf_count);
			struct stream_source *source = leaves[leaf_count - 1]->source;
			while (at < row_count && rows[at].source != source)
				at++;
			if (at == row_count)
				rows[row_count++] = (struct row_condition){source, e};
			else if (!(rows[at].e = sx_binary(s, op, rows[at].e, e)))
				return false;
		}
		}
	}
	if (request)
		out->atoms[out->count++] = request;
	for (size_t i = 0; i < row_count; i++)
		out->atoms[out->count++] = rows[i].e;
	return true;
}

/* Terms of several atoms in order, then the single ones, merged by OR. */
static bool order_terms(struct stream_compiler *s, const struct terms *in, struct stream_term *out, size_t *count)
{
	struct sx **single = arena_array(&s->c->scratch, struct sx *, in->count + 1);
	size_t single_count = 0;
	for (size_t i = 0; i < in->count; i++) {
		struct stream_term t;
		if (!merge(s, in->items[i].atoms, in->items[i].count, SX_AND, &t))
			return false;
		if (t.count == 1)
			single[single_count++] = t.atoms[0];
		else
			out[(*count)++] = t;
	}
	struct stream_term merged;
	if (!merge(s, single, single_count, SX_OR, &merged))
		return false;
	for (size_t i = 0; i < merged.count; i++)
		out[(*count)++] = (struct stream_term){.atoms = &merged.atoms[i], .count = 1};
	return true;
}

static bool merge_terms(struct stream_compiler *s, const struct terms *whole, struct stream_term **out, size_t *out_count)
{
	for (size_t i = 0; i < whole->count; i++)
		attach_constants(s, &whole->items[i]);
	*out = arena_array(&s->c->scratch, struct stream_term, whole->count + 1);
	return order_terms(s, whole, *out, out_count);
}

bool stream_terms(struct stream_compiler *s, struct sx *const *where, size_t count, struct stream_term **out, size_t *out_count)
{
	*out_count = 0;
	if (!count) {
		*out = arena_calloc(&s->c->scratch, sizeof(**out));
		*out_count = 1;
		return true;
	}
	struct normalizer n = {.s = s};
	struct terms *members = arena_array(&n.arena, struct terms, count), whole;
	bool ok = true;
	for (size_t i = 0; i < count && ok; i++)
		ok = normal_form(&n, where[i], false, &members[i]);
	ok = ok && all_of(&n, where[0], members, count, &whole) && merge_terms(s, &whole, out, out_count);
	arena_free(&n.arena);
	return ok;
}
