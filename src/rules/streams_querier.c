/*
 * streams_querier.c: variants of edition 3 streams on a request (sync-streams 9).
 *
 * A variant is a join: one row is chosen for each lookup such that every key of every lookup equals the outputs that feed it; bucket
 * keys are read from the chosen rows. The join runs lookup by lookup over a list of states; a state holds the outputs that are still
 * needed, and states that agree on them are one. All values of the request are evaluated once, when the querier is made.
 */
#include "rules/streams.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "rules/compile.h"
#include "rules/querier.h"

/* Rows of a json_each: output_count values each. */
struct each_rows {
	struct value *values;
	size_t count;
};

/* Values of the request for the keys of one lookup or of the bucket: [key][value], kind ABSENT where a lookup gives it. */
struct key_values {
	struct value **values;
	bool unusable; /* one is NULL or binary: nothing can be found */
};

struct variant_part {
	struct dynamic_part base;
	const struct stream_variant *variant;
	struct each_rows *rows;     /* by lookup */
	struct key_values *lookups; /* by lookup */
	struct key_values buckets;
};

static bool unusable(const struct value *v)
{
	return v->kind <= VALUE_NULL || v->kind == VALUE_BLOB;
}

/* ---- preparing -------------------------------------------------------------------------------------------------------- */

static bool filters_hold(const struct expr *const *filters, size_t count, struct eval_env *env, bool *out)
{
	*out = true;
	for (size_t i = 0; i < count; i++) {
		bool truth;
		if (!expr_truth(filters[i], env, &truth))
			return false;
		*out &= truth;
	}
	return true;
}

/* Request filters are tried in order; the first that fails ends it. */
static bool request_filters_hold(const struct stream_variant *v, struct eval_env *env, bool *out)
{
	*out = true;
	for (size_t i = 0; i < v->filter_count && *out; i++)
		if (!expr_truth(v->filters[i], env, out))
			return false;
	return true;
}

static bool prepare_each(const struct stream_lookup *l, struct eval_env *env, struct each_rows *out)
{
	struct value argument;
	struct json_each_row *rows;
	size_t count;
	if (!expr_eval(l->argument, env, &argument) ||
	    !json_each(&argument, env->fixed_json_extract, env->arena, &rows, &count, env->err))
		return false;
	if (count > QUERIER_MAX_COMBINATIONS)
		return error_set(env->err, "", "the list has more than %d elements", QUERIER_MAX_COMBINATIONS);
	const struct json_each_row **element = arena_array(env->arena, const struct json_each_row *, 1);
	env->elements = element;
	out->values = arena_array(env->arena, struct value, count * l->output_count + 1);
	for (size_t i = 0; i < count; i++) {
		bool pass;
		*element = &rows[i];
		if (!filters_hold(l->filters, l->filter_count, env, &pass))
			return false;
		struct value *to = out->values + out->count * l->output_count;
		for (size_t j = 0; j < l->output_count && pass; j++) {
			if (!expr_eval(l->outputs[j], env, &to[j]))
				return false;
			pass = !unusable(&to[j]);
		}
		out->count += pass;
	}
	return true;
}

static bool prepare_keys(const struct stream_key *keys, size_t count, struct eval_env *env, struct key_values *out)
{
	out->values = arena_array(env->arena, struct value *, count + 1);
	for (size_t i = 0; i < count; i++) {
		out->values[i] = arena_array(env->arena, struct value, keys[i].value_count);
		for (size_t j = 0; j < keys[i].value_count; j++) {
			struct value *v = &out->values[i][j];
			*v = (struct value){.kind = VALUE_ABSENT};
			if (!keys[i].values[j].request)
				continue;
			if (!expr_eval(keys[i].values[j].request, env, v))
				return false;
			out->unusable |= unusable(v);
		}
	}
	return true;
}

/* ---- joining ---------------------------------------------------------------------------------------------------------- */

struct states {
	struct value *values; /* slot_count each */
	bool **counted;       /* of the chosen object of each lookup, for resolver_count; only if the variant has checks */
	size_t count, cap;
};

struct join {
	const struct variant_part *part;
	const struct stream_variant *v;
	struct resolver *r; /* NULL: a static variant */
	struct arena *arena;
	struct error *err;
	struct buf *text;
	size_t tried;         /* pairs of a state and a row */
	struct states states; /* after the lookups before `index` */
	size_t index;
	bool wanted; /* the keys of that lookup */
};

/* Pairs that may be tried in one variant: most are dropped at once when lookups are intersected. */
#define MAX_PAIRS ((size_t)100 * QUERIER_MAX_COMBINATIONS)

static const struct value *state_value(const struct join *j, const struct value *state, const struct stream_value *v)
{
	return &state[j->v->lookups[v->lookup].slot + v->output];
}

static bool same_value(const struct value *a, const struct value *b)
{
	int order;
	bool nan = false;
	if ((a->kind == VALUE_TEXT) != (b->kind == VALUE_TEXT))
		return false;
	return value_compare(a, b, &order, &nan, NULL) && order == 0 && !nan;
}

/* The key's value in this state: what all of its values agree on. NULL: they do not. */
static const struct value *key_value(const struct join *j, const struct value *state, const struct stream_key *key,
                                     const struct value *request)
{
	const struct value *out = NULL;
	for (size_t i = 0; i < key->value_count; i++) {
		const struct value *v = key->values[i].request ? &request[i] : state_value(j, state, &key->values[i]);
		if (unusable(v) || (out && !same_value(out, v)))
			return NULL;
		if (!out)
			out = v;
	}
	return out;
}

/* Writes the keys into j->text; false: this state has none. */
static bool keys_text(struct join *j, const struct value *state, const struct stream_key *keys, size_t count,
                      const struct key_values *request, bool lookup)
{
	buf_clear(j->text);
	buf_putc(j->text, '[');
	for (size_t i = 0; i < count; i++) {
		const struct value *v = key_value(j, state, &keys[i], request->values[i]);
		if (!v)
			return false;
		if (i)
			buf_putc(j->text, ',');
		if (lookup)
			value_lookup_key(j->text, v);
		else
			value_bucket_key(j->text, v);
	}
	buf_putc(j->text, ']');
	return true;
}

static bool too_many(struct join *j)
{
	if (j->r)
		return resolver_too_many(j->r);
	return error_set(j->err, "PSYNC_S2305", "Too many parameter query results (limit of %d)", QUERIER_MAX_COMBINATIONS);
}

/* Do the values of the key that are known after lookup 'index' agree? */
static bool check_holds(const struct join *j, const struct stream_check *c, const struct value *state, size_t index)
{
	const struct key_values *owner = c->owner == UINT32_MAX ? &j->part->buckets : &j->part->lookups[c->owner];
	const struct value *first = NULL;
	bool concerned = false;
	for (size_t i = 0; i < c->key->value_count; i++)
		concerned |= !c->key->values[i].request && c->key->values[i].lookup == index;
	for (size_t i = 0; i < c->key->value_count && concerned; i++) {
		const struct stream_value *from = &c->key->values[i];
		if (!from->request && from->lookup > index)
			continue;
		const struct value *v = from->request ? &owner->values[c->index][i] : state_value(j, state, from);
		if (unusable(v) || (first && !same_value(first, v)))
			return false;
		first = first ? first : v;
	}
	return true;
}

static void reserve_state(struct join *j, struct states *out)
{
	size_t slots = j->v->slot_count, lookups = j->v->check_count ? j->v->lookup_count : 0;
	if (out->count < out->cap)
		return;
	size_t cap = out->cap ? out->cap * 2 : 16;
	struct value *values = arena_array(j->arena, struct value, cap * slots + 1);
	bool **counted = arena_array(j->arena, bool *, cap *lookups + 1);
	if (out->count) {
		memcpy(values, out->values, sizeof(*values) * out->count * slots);
		memcpy(counted, out->counted, sizeof(*counted) * out->count * lookups);
	}
	out->values = values;
	out->counted = counted;
	out->cap = cap;
}

/* Joins state 'base' of 'in' with a row of lookup 'index'. */
static bool add_state(struct join *j, struct states *out, const struct states *in, size_t base, size_t index,
                      const struct value *row, bool *counted)
{
	const struct stream_lookup *l = &j->v->lookups[index];
	size_t slots = j->v->slot_count, lookups = j->v->lookup_count;
	if (out->count >= QUERIER_MAX_COMBINATIONS || j->tried++ >= MAX_PAIRS)
		return too_many(j);
	reserve_state(j, out);
	struct value *to = out->values + out->count * slots;
	if (slots)
		memcpy(to, in->values + base * slots, sizeof(*to) * slots);
	for (size_t i = 0; i < l->output_count; i++)
		to[l->slot + i] = row[i];
	for (size_t i = 0; i < j->v->check_count; i++)
		if (!check_holds(j, &j->v->checks[i], to, index))
			return true;
	if (j->v->check_count) {
		memcpy(out->counted + out->count * lookups, in->counted + base * lookups, sizeof(*in->counted) * lookups);
		out->counted[out->count * lookups + index] = counted;
	}
	out->count++;
	return true;
}

/* Outputs of a stored object; false: one is missing or NULL, so that the row is of no use. */
static bool object_values(struct join *j, const struct stream_lookup *l, const struct json_node *object, struct value *out)
{
	for (uint32_t i = 0; i < l->output_count; i++) {
		char name[12];
		size_t n = format_u64(name, i);
		const struct json_node *member = json_find(object, slice_make(name, n));
		if (!member || !json_to_value(member, j->arena, &out[i], NULL) || unusable(&out[i]))
			return false;
	}
	return true;
}

/* Writes the keys of an index lookup into j->text; false: it finds nothing for this state. */
static bool lookup_text(struct join *j, size_t index, const struct states *in, size_t state)
{
	const struct stream_lookup *l = &j->v->lookups[index];
	const struct key_values *request = &j->part->lookups[index];
	return !request->unusable && keys_text(j, in->values + state * j->v->slot_count, l->keys, l->key_count, request, true);
}

/* The keys of all states. */
static bool want_index(struct join *j, size_t index, const struct states *in, bool *waits)
{
	resolver_begin_call(j->r);
	for (size_t i = 0; i < in->count; i++)
		if (lookup_text(j, index, in, i) &&
		    !resolver_want(j->r, j->v->lookups[index].definition, buf_slice(j->text), waits))
			return false;
	return true;
}

static bool step_index(struct join *j, size_t index, const struct states *in, struct states *out)
{
	const struct stream_lookup *l = &j->v->lookups[index];
	enum result_counting counting = l->intersected ? COUNT_LATER : l->distinct ? COUNT_DISTINCT : COUNT_ALL;
	struct value *row = arena_array(j->arena, struct value, l->output_count + 1);
	for (size_t i = 0; i < in->count; i++) {
		const struct known_lookup *known;
		if (!lookup_text(j, index, in, i))
			continue;
		if (!resolver_lookup(j->r, l->definition, buf_slice(j->text), counting, &known))
			return false;
		for (size_t k = 0; k < known->count; k++)
			if (object_values(j, l, &known->objects[k], row) &&
			    !add_state(j, out, in, i, index, row, &known->counted[k]))
				return false;
	}
	return true;
}

static bool step_each(struct join *j, size_t index, const struct states *in, struct states *out)
{
	const struct stream_lookup *l = &j->v->lookups[index];
	const struct each_rows *rows = &j->part->rows[index];
	for (size_t i = 0; i < in->count; i++)
		for (size_t k = 0; k < rows->count; k++)
			if (!add_state(j, out, in, i, index, rows->values + k * l->output_count, NULL))
				return false;
	return true;
}

static uint64_t hash_text(struct slice s)
{
	uint64_t h = 14695981039346656037u;
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 1099511628211u;
	return h ^ h >> 31;
}

/* Drops outputs that nobody reads after lookup 'index', and states that are then the same as one before. */
static void project(struct join *j, size_t index, struct states *s)
{
	size_t slots = j->v->slot_count, size = 16, kept = 0;
	if (s->count < 2)
		return;
	while (size < s->count * 2)
		size *= 2;
	uint32_t *table = arena_calloc(j->arena, sizeof(*table) * size);
	struct slice *texts = arena_array(j->arena, struct slice, s->count);
	for (size_t i = 0; i < s->count; i++) {
		const struct value *state = s->values + i * slots;
		buf_clear(j->text);
		for (size_t k = 0; k < slots; k++) {
			if (j->v->slot_last[k] <= index + 1 || state[k].kind == VALUE_ABSENT)
				continue;
			value_lookup_key(j->text, &state[k]);
			buf_putc(j->text, ',');
		}
		size_t at = hash_text(buf_slice(j->text)) & (size - 1);
		while (table[at] && !slice_eq(texts[table[at] - 1], buf_slice(j->text)))
			at = (at + 1) & (size - 1);
		if (table[at])
			continue;
		texts[kept] = arena_copy(j->arena, buf_slice(j->text));
		if (kept != i && slots)
			memcpy(s->values + kept * slots, state, sizeof(*state) * slots);
		if (kept != i && j->v->check_count)
			memcpy(s->counted + kept * j->v->lookup_count, s->counted + i * j->v->lookup_count,
			       sizeof(*s->counted) * j->v->lookup_count);
		table[at] = (uint32_t)++kept;
	}
	s->count = kept;
}

/* Lookups whose intersection is complete: the objects that stand in it count. */
static bool count_intersected(struct join *j, size_t index, const struct states *s)
{
	const struct stream_variant *v = j->v;
	for (size_t i = 0; i < v->check_count && j->r; i++) {
		const struct stream_check *c = &v->checks[i];
		for (size_t k = 0; k < c->key->value_count && c->last == index; k++) {
			const struct stream_value *from = &c->key->values[k];
			if (from->request || v->lookups[from->lookup].each)
				continue;
			for (size_t n = 0; n < s->count; n++)
				if (!resolver_count(j->r, v->lookups[from->lookup].definition,
				                    s->counted[n * v->lookup_count + from->lookup]))
					return too_many(j);
		}
	}
	return true;
}

static void join_begin(struct join *j)
{
	j->states = (struct states){.count = 1, .cap = 1};
	j->states.values = arena_calloc(j->arena, sizeof(*j->states.values) * (j->v->slot_count + 1));
	j->states.counted = arena_calloc(j->arena, sizeof(*j->states.counted) * (j->v->lookup_count + 1));
}

/* Goes on to the next lookup whose keys have to be read first (*waits), or to the end. */
static bool join_run(struct join *j, bool *waits)
{
	const struct stream_variant *v = j->v;
	for (; j->index < v->lookup_count; j->index++) {
		bool each = v->lookups[j->index].each;
		struct states next = {0};
		if (!each && !j->wanted) {
			j->wanted = true;
			if (!want_index(j, j->index, &j->states, waits))
				return false;
			if (*waits)
				return true;
		}
		j->wanted = false;
		if (!(each ? step_each : step_index)(j, j->index, &j->states, &next))
			return false;
		project(j, j->index, &next);
		if (!count_intersected(j, j->index, &next))
			return false;
		j->states = next;
	}
	return true;
}

static void join_buckets(struct join *j, const struct unit *u, struct bucket_set *out)
{
	const struct stream_variant *v = j->v;
	const struct states *states = &j->states;
	for (size_t i = 0; i < states->count && !j->part->buckets.unusable; i++) {
		if (!keys_text(j, states->values + i * v->slot_count, v->keys, v->key_count, &j->part->buckets, false))
			continue;
		const struct bucket_draft *known = bucket_set_find(out, v->definition, buf_slice(j->text));
		struct slice keys = known ? known->bucket.keys : arena_copy(out->arena, buf_slice(j->text));
		bucket_set_add(out, v->definition, keys, u->priority, u->reason);
	}
}

static bool step_part(const struct dynamic_part *base, struct resolver *r, void **run, bool *waits)
{
	const struct variant_part *part = (const struct variant_part *)base;
	struct join *j = *run;
	if (!j) {
		*run = j = arena_alloc(r->arena, sizeof(*j));
		*j = (struct join){.part = part, .v = part->variant, .r = r, .arena = r->arena, .err = r->err, .text = &r->text};
		join_begin(j);
	}
	return join_run(j, waits);
}

static bool finish_part(const struct dynamic_part *base, struct resolver *r, void *run, struct bucket_set *out)
{
	(void)r;
	join_buckets(run, base->unit, out);
	return true;
}

/* A variant of json_each only: nothing is read. */
static bool add_static(struct querier *q, const struct variant_part *part, const struct unit *u, struct error *err)
{
	struct buf text = {0};
	struct join j = {.part = part, .v = part->variant, .arena = &q->arena, .err = err, .text = &text};
	bool waits = false;
	join_begin(&j);
	bool ok = join_run(&j, &waits);
	if (ok)
		join_buckets(&j, u, &q->fixed);
	buf_free(&text);
	return ok;
}

/* ---- one variant ------------------------------------------------------------------------------------------------------ */

enum outcome { OUTCOME_NOTHING, OUTCOME_READY, OUTCOME_ERROR };

static enum outcome prepare_variant(const struct stream_variant *v, struct eval_env *env, struct variant_part *part)
{
	bool pass;
	if (!request_filters_hold(v, env, &pass))
		return OUTCOME_ERROR;
	if (!pass)
		return OUTCOME_NOTHING;
	part->rows = arena_calloc(env->arena, sizeof(*part->rows) * (v->lookup_count + 1));
	part->lookups = arena_calloc(env->arena, sizeof(*part->lookups) * (v->lookup_count + 1));
	for (size_t i = 0; i < v->lookup_count; i++) {
		if (!v->lookups[i].each)
			continue;
		if (!prepare_each(&v->lookups[i], env, &part->rows[i]))
			return OUTCOME_ERROR;
		if (!part->rows[i].count)
			return OUTCOME_NOTHING;
	}
	for (size_t i = 0; i < v->lookup_count; i++)
		if (!v->lookups[i].each && !prepare_keys(v->lookups[i].keys, v->lookups[i].key_count, env, &part->lookups[i]))
			return OUTCOME_ERROR;
	return prepare_keys(v->keys, v->key_count, env, &part->buckets) ? OUTCOME_READY : OUTCOME_ERROR;
}

bool streams_prepare(struct querier *q, const struct unit *u, struct error *err)
{
	for (size_t i = 0; i < u->stream->variant_count; i++) {
		const struct stream_variant *v = u->stream->variants[i];
		struct error inner = {.code = ""};
		struct eval_env env = unit_env(q, u, &q->arena, &inner);
		struct variant_part *part = arena_calloc(&q->arena, sizeof(*part));
		part->base = (struct dynamic_part){.unit = u, .step = step_part, .finish = finish_part};
		part->variant = v;
		enum outcome outcome = prepare_variant(v, &env, part);
		if (outcome == OUTCOME_NOTHING)
			continue;
		if (outcome == OUTCOME_ERROR) {
			querier_stream_error(q, u, inner.message);
			continue;
		}
		if (v->dynamic) {
			querier_add_part(q, &part->base);
			continue;
		}
		if (!add_static(q, part, u, err))
			return false;
	}
	return true;
}

/* ---- printing --------------------------------------------------------------------------------------------------------- */

static void print_keys(const struct stream_key *keys, size_t count, struct buf *out)
{
	for (size_t i = 0; i < count; i++) {
		buf_putc(out, i ? ',' : ' ');
		for (size_t j = 0; j < keys[i].value_count; j++) {
			const struct stream_value *v = &keys[i].values[j];
			if (j)
				buf_lit(out, " & ");
			if (v->request)
				expr_print(out, v->request);
			else
				buf_printf(out, "#%u.%u", v->lookup, v->output);
		}
	}
}

void stream_variant_print(const struct stream_variant *v, struct buf *out)
{
	buf_printf(out, "  variant of buckets %u\n", v->definition);
	for (size_t i = 0; i < v->filter_count; i++) {
		buf_lit(out, "    if ");
		expr_print(out, v->filters[i]);
		buf_putc(out, '\n');
	}
	for (size_t i = 0; i < v->lookup_count; i++) {
		const struct stream_lookup *l = &v->lookups[i];
		buf_printf(out, "    #%zu ", i);
		if (l->each) {
			buf_lit(out, "each of ");
			expr_print(out, l->argument);
		} else {
			buf_printf(out, "lookup %u by", l->definition);
			print_keys(l->keys, l->key_count, out);
		}
		buf_putc(out, '\n');
	}
	buf_lit(out, "    keys");
	print_keys(v->keys, v->key_count, out);
	buf_putc(out, '\n');
}
