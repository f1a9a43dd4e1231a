/*
 * evaluate.c: rows to bucket entries and lookup entries (sync-config 14, 15.4; sync-streams 7, 8).
 *
 * The hot loop of replication. Data texts are written once per list of columns and row, straight from values into the arena; nothing
 * is looked up by name.
 */
#include "rules/bind.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "rules/match.h"
#include "rules/repeats.h"

/* Texts whose bound is below this are written in the arena at once; larger ones go through a buffer of their own. */
#define MAX_IN_PLACE ((size_t)256 << 10)

/* The writers of the value layer ask for somewhat more than they use. */
#define WRITER_SLACK 256

struct output_state {
	bool done, failed;
	struct slice data, id;
	bool blank;           /* lookups of edition 3: an output is NULL, binary or absent */
	struct slice message; /* of the failure */
};

/* Keys that several sources share. */
struct key_text {
	bool done, usable;
	struct slice text;
};

struct row_run {
	const struct bound_table *b;
	const struct value *row;
	struct arena *arena;
	struct output_state *outputs;
	struct key_text *keys; /* by key group */
	struct evaluation *out;
	size_t entry_cap, lookup_cap, fault_cap;
	struct error err; /* not initialised: set when something fails */
};

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

/* A buffer over arena memory, or over malloc if the bound is large. */
struct writer {
	struct buf buf;
	bool in_place;
};

static struct writer writer_start(struct arena *arena, size_t bound)
{
	bound += WRITER_SLACK;
	struct writer w = {.in_place = bound <= MAX_IN_PLACE};
	if (w.in_place) {
		w.buf.p = arena_bytes(arena, bound);
		w.buf.cap = bound;
	}
	return w;
}

/* Gives back what was reserved too much. */
static struct slice writer_finish(struct writer *w, struct arena *arena)
{
	struct slice out;
	if (w->in_place) {
		out = buf_slice(&w->buf);
		if (arena->at == w->buf.p + w->buf.cap)
			arena->at = w->buf.p + w->buf.n;
		return out;
	}
	out = arena_copy(arena, buf_slice(&w->buf));
	buf_free(&w->buf);
	return out;
}

/* An upper bound of the value's JSON text: each byte may become \u00xx; a REAL may be written out with 309 digits. */
static inline size_t value_bound(const struct value *v)
{
	return v->kind == VALUE_TEXT ? v->s.n * 6 + 2 : v->kind == VALUE_REAL ? 360 : 40;
}

static inline bool is_left_out(const struct value *v)
{
	return v->kind == VALUE_ABSENT || v->kind == VALUE_BLOB || v->kind == VALUE_UNKNOWN;
}

/* Values of a member: the last explicit one counts; '*' fills in where nothing but NULL stands (14.4), in edition 3 it overwrites. */
bool output_member_value(const struct output_member *m, enum dialect dialect, struct eval_env *env, struct value *out)
{
	*out = (struct value){.kind = VALUE_ABSENT};
	for (size_t i = 0; i < m->contribution_count; i++) {
		const struct contribution *c = &m->contributions[i];
		if (c->star && i && dialect != DIALECT_STREAMS_3 && !value_is_null(out))
			continue;
		if (c->column >= 0)
			*out = env->row[c->column];
		else if (!c->expr || !expr_eval(c->expr, env, out))
			return false;
	}
	return true;
}

/* elements: of the json_eachs, NULL if there are none. */
static bool write_output(struct row_run *r, const struct bound_output *o, const struct json_each_row *const *elements,
                         struct output_state *state)
{
	const struct value **values = arena_array(r->arena, const struct value *, o->member_count + 1);
	struct eval_env env = {
	        .row = r->row, .slots = o->slots, .table = o->names, .elements = elements, .arena = r->arena, .err = &r->err};
	env.fixed_json_extract = r->b->plan->options.fixed_json_extract;
	size_t bound = o->fragment_bytes + 3;
	for (size_t i = 0; i < o->member_count; i++) {
		const struct output_member *m = &o->members[i];
		if (m->contribution_count == 1 && m->contributions->column >= 0) {
			values[i] = &r->row[m->contributions->column];
		} else {
			struct value *v = arena_alloc(r->arena, sizeof(*v));
			if (!output_member_value(m, o->dialect, &env, v)) {
				state->message = arena_copy(r->arena, slice_cstr(r->err.message));
				return false;
			}
			values[i] = v;
		}
		bound += value_bound(values[i]);
		state->blank |= is_unusable(values[i]);
	}
	struct writer w = writer_start(r->arena, bound);
	for (size_t i = 0; i < o->member_count; i++) {
		if (is_left_out(values[i]))
			continue;
		buf_slice_append(&w.buf, o->members[i].fragment);
		value_json(&w.buf, values[i]);
	}
	if (w.buf.n)
		w.buf.p[0] = '{';
	else
		buf_putc(&w.buf, '{');
	buf_putc(&w.buf, '}');
	state->data = writer_finish(&w, r->arena);
	state->id = SLICE("");
	if (o->id_member >= 0 && !is_unusable(values[o->id_member]))
		state->id = value_text_form(values[o->id_member], r->arena);
	return true;
}

static struct output_state *row_output(struct row_run *r, uint32_t index)
{
	struct output_state *state = &r->outputs[index];
	if (!state->done) {
		state->done = true;
		state->failed = !write_output(r, &r->b->outputs[index], NULL, state);
	}
	return state;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------- */

static struct slice write_keys(struct arena *arena, const struct key_value *const *keys, size_t count, bool lookup)
{
	if (!count)
		return SLICE("[]");
	size_t bound = 2;
	for (size_t i = 0; i < count; i++)
		bound += keys[i]->state == KEY_JSON ? keys[i]->v.s.n + 1 : value_bound(&keys[i]->v) + 1;
	struct writer w = writer_start(arena, bound);
	for (size_t i = 0; i < count; i++) {
		buf_putc(&w.buf, i ? ',' : '[');
		if (keys[i]->state == KEY_JSON)
			buf_slice_append(&w.buf, keys[i]->v.s);
		else if (lookup)
			value_lookup_key(&w.buf, &keys[i]->v);
		else
			value_bucket_key(&w.buf, &keys[i]->v);
	}
	buf_putc(&w.buf, ']');
	return writer_finish(&w, arena);
}

/* ---- collecting ------------------------------------------------------------------------------------------------------- */

static void add_fault(struct row_run *r, const struct bound_source *s, const char *message)
{
	struct evaluation *out = r->out;
	out->faults = arena_grow(r->arena, out->faults, out->fault_count, &r->fault_cap, sizeof(*out->faults));
	out->faults[out->fault_count++] =
	        (struct row_fault){.definition = s->source->definition, .message = arena_copy(r->arena, slice_cstr(message))};
}

static void add_entry(struct row_run *r, const struct bound_source *s, struct slice keys, const struct output_state *output)
{
	struct evaluation *out = r->out;
	out->entries = arena_grow(r->arena, out->entries, out->entry_count, &r->entry_cap, sizeof(*out->entries));
	out->entries[out->entry_count++] = (struct row_entry){
	        .definition = s->source->definition,
	        .keys = keys,
	        .object_type = s->object_type,
	        .object_id = output->id,
	        .data = output->data,
	};
}

static void add_lookup(struct row_run *r, const struct bound_source *s, struct slice key, struct slice results)
{
	struct evaluation *out = r->out;
	out->lookups = arena_grow(r->arena, out->lookups, out->lookup_count, &r->lookup_cap, sizeof(*out->lookups));
	out->lookups[out->lookup_count++] =
	        (struct row_lookup){.definition = s->source->definition, .key = key, .results = results};
}

static struct slice as_array(struct arena *arena, struct slice object)
{
	char *p = arena_bytes(arena, object.n + 2);
	p[0] = '[';
	memcpy(p + 1, object.p, object.n);
	p[object.n + 1] = ']';
	return slice_make(p, object.n + 2);
}

/* ---- bucket definitions and edition 2 --------------------------------------------------------------------------------- */

static bool run_match_source(struct row_run *r, const struct bound_source *s, bool lookup, struct eval_env *env)
{
	const struct row_source *source = s->source;
	struct match_run m = {.env = env, .parameters = source->parameter_count, .lookup = lookup};
	struct assignments a;
	if (!match_eval(&m, source->match, &a))
		return false;
	if (!a.count)
		return true;
	struct output_state *output = row_output(r, s->output);
	if (output->failed)
		return error_set(env->err, "", "%.*s", SLICE_ARG(output->message));
	struct slice results = lookup ? as_array(r->arena, output->data) : SLICE("");
	const struct key_value **keys = arena_array(r->arena, const struct key_value *, source->key_count + 1);
	for (size_t i = 0; i < a.count; i++) {
		const struct key_value *assigned = a.items + i * source->parameter_count;
		for (size_t k = 0; k < source->key_count; k++)
			keys[k] = &assigned[source->key_parameters ? source->key_parameters[k] : k];
		struct slice text = write_keys(r->arena, keys, source->key_count, lookup);
		if (lookup)
			add_lookup(r, s, text, results);
		else
			add_entry(r, s, text, output);
	}
	return true;
}

/* ---- edition 3 -------------------------------------------------------------------------------------------------------- */

struct combinations {
	struct row_run *r;
	const struct bound_source *s;
	struct eval_env *env;
	bool lookup;
	struct key_value *values;
	const struct key_value **keys;
	struct json_each_row **rows; /* of each json_each */
	size_t *counts;
	const struct json_each_row **current;
	size_t left; /* combinations that may still be tried */
};

/* All filters are evaluated: an error in any of them counts. */
static bool filters_hold(struct combinations *c, bool *out)
{
	*out = true;
	for (size_t i = 0; i < c->s->source->filter_count; i++) {
		bool truth;
		if (!expr_truth(c->s->source->filters[i], c->env, &truth))
			return false;
		*out &= truth;
	}
	return true;
}

static bool write_combination_keys(struct combinations *c, struct key_text *out)
{
	const struct row_source *source = c->s->source;
	*out = (struct key_text){.done = true, .usable = true};
	for (size_t i = 0; i < source->key_count; i++) {
		if (!expr_eval(source->keys[i], c->env, &c->values[i].v))
			return false;
		out->usable &= !is_unusable(&c->values[i].v);
	}
	if (out->usable)
		out->text = write_keys(c->r->arena, c->keys, source->key_count, c->lookup);
	return true;
}

static bool combination_keys(struct combinations *c, struct key_text *out)
{
	if (c->s->key_group == NO_KEY_GROUP)
		return write_combination_keys(c, out);
	struct key_text *shared = &c->r->keys[c->s->key_group];
	if (!shared->done && !write_combination_keys(c, shared))
		return false;
	*out = *shared;
	return true;
}

static bool run_combination(struct combinations *c)
{
	const struct row_source *source = c->s->source;
	bool usable;
	if (!filters_hold(c, &usable))
		return false;
	if (!usable)
		return true;
	struct output_state local = {0}, *output = &local;
	if (c->lookup && source->function_count) /* outputs may use the elements, so they are not shared */
		local.failed = !write_output(c->r, &c->r->b->outputs[c->s->output], c->current, &local);
	else
		output = row_output(c->r, c->s->output);
	if (output->failed)
		return error_set(c->env->err, "", "%.*s", SLICE_ARG(output->message));
	struct key_text keys;
	if (!combination_keys(c, &keys))
		return false;
	if (!keys.usable || (c->lookup && output->blank))
		return true;
	struct slice text = keys.text;
	if (c->lookup)
		add_lookup(c->r, c->s, text, as_array(c->r->arena, output->data));
	else
		add_entry(c->r, c->s, text, output);
	return true;
}

/* Every combination of elements, the first json_each slowest. Bounded by the limit on combinations, so is the recursion by the
 * number of json_eachs in the query. */
static bool run_functions(struct combinations *c, size_t function)
{
	if (function == c->s->source->function_count) {
		if (c->left-- == 0)
			return error_set(c->env->err, "", "the query gives more than %d combinations for one row",
			                 MAX_ASSIGNMENTS);
		return run_combination(c);
	}
	for (size_t i = 0; i < c->counts[function]; i++) {
		c->current[function] = &c->rows[function][i];
		if (!run_functions(c, function + 1))
			return false;
	}
	return true;
}

static bool expand_functions(struct combinations *c)
{
	const struct row_source *source = c->s->source;
	for (size_t i = 0; i < source->function_count; i++) {
		struct value argument;
		if (!expr_eval(source->functions[i], c->env, &argument) ||
		    !json_each(&argument, c->env->fixed_json_extract, c->env->arena, &c->rows[i], &c->counts[i], c->env->err))
			return false;
	}
	/* One without elements leaves no combination, however many the others have. */
	for (size_t i = 0; i < source->function_count; i++)
		if (!c->counts[i])
			c->counts[0] = 0;
	return true;
}

static bool run_filter_source(struct row_run *r, const struct bound_source *s, bool lookup, struct eval_env *env)
{
	const struct row_source *source = s->source;
	struct combinations c = {.r = r, .s = s, .env = env, .lookup = lookup, .left = MAX_ASSIGNMENTS};
	c.values = arena_array(r->arena, struct key_value, source->key_count + 1);
	c.keys = arena_array(r->arena, const struct key_value *, source->key_count + 1);
	for (size_t i = 0; i < source->key_count; i++) {
		c.values[i].state = KEY_VALUE;
		c.keys[i] = &c.values[i];
	}
	if (source->function_count) {
		c.rows = arena_array(r->arena, struct json_each_row *, source->function_count);
		c.counts = arena_array(r->arena, size_t, source->function_count);
		c.current = arena_array(r->arena, const struct json_each_row *, source->function_count);
		env->elements = c.current;
	}
	return expand_functions(&c) && run_functions(&c, 0);
}

/* ---- the whole -------------------------------------------------------------------------------------------------------- */

static void run_source(struct row_run *r, const struct bound_source *s, bool lookup)
{
	struct eval_env env = {.row = r->row, .slots = s->slots, .table = &s->names, .arena = r->arena, .err = &r->err};
	env.fixed_json_extract = r->b->plan->options.fixed_json_extract;
	size_t entries = r->out->entry_count, lookups = r->out->lookup_count;
	bool ok = s->source->match ? run_match_source(r, s, lookup, &env) : run_filter_source(r, s, lookup, &env);
	if (ok)
		return;
	r->out->entry_count = entries;
	r->out->lookup_count = lookups;
	add_fault(r, s, r->err.message);
}

/* Field by field, because clearing the error's text would cost more than a small row. */
static void row_run_init(struct row_run *r, const struct bound_table *b, const struct value *row, struct arena *arena,
                         struct evaluation *out)
{
	r->b = b;
	r->row = row;
	r->arena = arena;
	r->outputs = NULL;
	r->keys = NULL;
	r->out = out;
	r->entry_cap = r->lookup_cap = r->fault_cap = 0;
}

void bound_evaluate(const struct bound_table *b, const struct value *row, struct arena *arena, struct evaluation *out)
{
	*out = (struct evaluation){0};
	struct row_run r;
	row_run_init(&r, b, row, arena, out);
	r.outputs = arena_array(arena, struct output_state, b->output_count + 1);
	for (size_t i = 0; i < b->output_count; i++) {
		r.outputs[i].done = r.outputs[i].failed = r.outputs[i].blank = false;
	}
	r.keys = arena_array(arena, struct key_text, b->key_group_count + 1);
	for (size_t i = 0; i < b->key_group_count; i++)
		r.keys[i].done = false;
	size_t first = 0;
	for (size_t i = 0; i < b->bucket_count; i++) {
		if (i && b->buckets[i].source->definition != b->buckets[i - 1].source->definition) {
			merge_entries(out, first, arena);
			first = out->entry_count;
		}
		run_source(&r, &b->buckets[i], false);
	}
	merge_entries(out, first, arena);
	for (size_t i = 0; i < b->lookup_count; i++) {
		size_t before = out->lookup_count;
		run_source(&r, &b->lookups[i], true);
		merge_lookups(out, before, b->lookups[i].source->dialect == DIALECT_STREAMS_3, arena);
	}
}

void bound_events(const struct bound_table *b, const struct value *row, struct arena *arena, struct row_event **out,
                  size_t *count)
{
	struct evaluation nothing = {0};
	struct row_run r;
	row_run_init(&r, b, row, arena, &nothing);
	*out = arena_array(arena, struct row_event, b->event_count + 1);
	*count = b->event_count;
	for (size_t i = 0; i < b->event_count; i++) {
		struct output_state state = {0};
		(*out)[i] = (struct row_event){.name = b->events[i].name};
		if (write_output(&r, &b->outputs[b->events[i].source.output], NULL, &state))
			(*out)[i].data = state.data;
	}
}
