/* streams_plan.c: resolved variants -> row sources, parameter indexes and queriers. */
#include "rules/streams_plan.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "base/alloc.h"

/* ---- signatures (sync-streams 5) -------------------------------------------------------------------------------------- */

static void add_part(struct buf *out, struct slice part)
{
	buf_printf(out, "%zu:", part.n);
	buf_slice_append(out, part);
}

static int compare_slices(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void add_expressions(struct stream_compiler *s, struct buf *out, struct sx *const *items, size_t count, bool sorted)
{
	struct slice *texts = xcalloc(count + 1, sizeof(*texts));
	for (size_t i = 0; i < count; i++)
		texts[i] = sx_signature(s, items[i]);
	if (sorted)
		qsort(texts, count, sizeof(*texts), compare_slices);
	buf_putc(out, '{');
	for (size_t i = 0; i < count; i++)
		add_part(out, texts[i]);
	buf_putc(out, '}');
	free(texts);
}

static void add_keys_and_functions(struct stream_compiler *s, struct buf *out, const struct resolved_source *t)
{
	buf_printf(out, "%u{", t->source->pattern);
	for (size_t i = 0; i < t->key_count; i++)
		add_part(out, sx_signature(s, t->keys[i].expr));
	buf_lit(out, "}{");
	for (size_t i = 0; i < t->function_count; i++)
		add_part(out, source_signature(s, t->functions[i]));
	buf_putc(out, '}');
}

/* A text of fixed size in place of one that could grow with every level of lookups. */
static struct slice digest(struct stream_compiler *s, struct buf *text)
{
	unsigned char *sum = (unsigned char *)arena_bytes(&s->c->scratch, 32);
	EVP_Digest(text->p, text->n, sum, NULL, EVP_sha256(), NULL);
	buf_free(text);
	return slice_make(sum, 32);
}

static struct slice index_signature(struct stream_compiler *s, const struct resolved_source *t)
{
	struct buf out = {0};
	add_keys_and_functions(s, &out, t);
	add_expressions(s, &out, t->filters, t->filter_count, true);
	add_expressions(s, &out, t->outputs, t->output_count, false);
	return digest(s, &out);
}

static struct slice lookup_signature(struct stream_compiler *s, struct resolved_source *t);

static void add_values(struct stream_compiler *s, struct buf *out, const struct resolved_key *k)
{
	buf_putc(out, '[');
	for (size_t i = 0; i < k->value_count; i++) {
		const struct resolved_value *v = &k->values[i];
		if (v->request) {
			buf_putc(out, 'r');
			add_part(out, sx_signature(s, v->request));
		} else {
			buf_printf(out, "l%u", v->output);
			add_part(out, lookup_signature(s, v->lookup));
		}
	}
	buf_putc(out, ']');
}

static struct slice lookup_signature(struct stream_compiler *s, struct resolved_source *t)
{
	if (t->signature.p)
		return t->signature;
	struct buf out = {0};
	if (t->source->kind == SOURCE_EACH) {
		add_part(&out, source_signature(s, t->source));
		add_expressions(s, &out, t->filters, t->filter_count, false);
	} else {
		add_part(&out, index_signature(s, t));
		for (size_t i = 0; i < t->key_count; i++)
			add_values(s, &out, &t->keys[i]);
	}
	t->signature = digest(s, &out);
	return t->signature;
}

static struct slice variant_signature(struct stream_compiler *s, const struct resolved_variant *v,
                                      struct resolved_source **lookups, size_t count)
{
	struct buf out = {0};
	add_expressions(s, &out, v->request, v->request_count, false);
	struct slice *texts = xcalloc(count + 1, sizeof(*texts));
	for (size_t i = 0; i < count; i++)
		texts[i] = lookup_signature(s, lookups[i]);
	qsort(texts, count, sizeof(*texts), compare_slices);
	for (size_t i = 0; i < count; i++)
		add_part(&out, texts[i]);
	free(texts);
	for (size_t i = 0; i < v->root->key_count; i++)
		add_values(s, &out, &v->root->keys[i]);
	return digest(s, &out);
}

static struct slice source_content_signature(struct stream_compiler *s, const struct resolved_source *t,
                                             const struct stream_column *columns, size_t count, struct slice output_table)
{
	struct buf out = {0};
	add_keys_and_functions(s, &out, t);
	add_expressions(s, &out, t->filters, t->filter_count, false);
	for (size_t i = 0; i < count; i++) {
		if (!columns[i].expr) {
			buf_lit(&out, "*;");
			continue;
		}
		add_part(&out, columns[i].name);
		add_part(&out, sx_signature(s, columns[i].expr));
	}
	add_part(&out, output_table.p ? output_table : SLICE("%"));
	return digest(s, &out);
}

/* ---- row sources ------------------------------------------------------------------------------------------------------ */

static const struct expr *const *lower_all(struct lowering *l, struct sx *const *items, size_t count)
{
	const struct expr **out = arena_array(l->c->arena, const struct expr *, count + 1);
	for (size_t i = 0; i < count; i++)
		out[i] = sx_lower(l, items[i]);
	return out;
}

static void start_source(struct lowering *l, const struct resolved_source *t, struct row_source *out)
{
	struct arena *arena = l->c->arena;
	*out = (struct row_source){.dialect = DIALECT_STREAMS_3, .pattern = t->source->pattern};
	out->filters = lower_all(l, t->filters, t->filter_count);
	out->filter_count = t->filter_count;
	const struct expr **keys = arena_array(arena, const struct expr *, t->key_count + 1);
	for (size_t i = 0; i < t->key_count; i++)
		keys[i] = sx_lower(l, t->keys[i].expr);
	out->keys = keys;
	out->key_count = t->key_count;
	const struct expr **functions = arena_array(arena, const struct expr *, t->function_count + 1);
	for (size_t i = 0; i < t->function_count; i++)
		functions[i] = sx_lower(l, t->functions[i]->argument);
	out->functions = functions;
	out->function_count = t->function_count;
}

static void finish_source(struct lowering *l, struct row_source *out)
{
	struct slice *names = arena_array(l->c->arena, struct slice, l->column_count + 1);
	for (size_t i = 0; i < l->column_count; i++)
		names[i] = l->columns[i];
	out->column_names = names;
	out->column_count = l->column_count;
	row_source_finish(l->c, out);
	lowering_free(l);
}

static void data_source(struct stream_compiler *s, const struct resolved_source *t, const struct stream_column *columns,
                        size_t count, struct stream_data_source *out)
{
	struct lowering l = {.c = s->c, .functions = t->functions, .function_count = t->function_count};
	struct row_source *source = &out->source;
	start_source(&l, t, source);
	struct output_column *outputs = arena_array(s->c->arena, struct output_column, count + 1);
	for (size_t i = 0; i < count; i++) {
		outputs[i] = (struct output_column){0};
		if (columns[i].expr)
			outputs[i] =
			        (struct output_column){arena_copy(s->c->arena, columns[i].name), sx_lower(&l, columns[i].expr)};
	}
	source->columns = outputs;
	source->output_count = count;
	if (t->source->alias.p)
		source->output_table = arena_copy(s->c->arena, t->source->alias);
	else if (!slice_ends(t->source->name, SLICE("%")))
		source->output_table = arena_copy(s->c->arena, t->source->name);
	finish_source(&l, source);
	out->signature = source_content_signature(s, t, columns, count, source->output_table);
}

/* The definition of the parameter index, an equal one if there is one. */
static uint32_t parameter_index(struct stream_compiler *s, struct index_set *indexes, const struct resolved_source *t)
{
	struct slice signature = index_signature(s, t);
	for (size_t i = 0; i < indexes->count; i++)
		if (slice_eq(indexes->items[i].signature, signature))
			return indexes->items[i].definition;
	struct lowering l = {.c = s->c, .functions = t->functions, .function_count = t->function_count};
	struct row_source source;
	start_source(&l, t, &source);
	struct output_column *outputs = arena_array(s->c->arena, struct output_column, t->output_count + 1);
	for (size_t i = 0; i < t->output_count; i++)
		outputs[i] = (struct output_column){arena_printf(s->c->arena, "%zu", i), sx_lower(&l, t->outputs[i])};
	source.columns = outputs;
	source.output_count = t->output_count;
	finish_source(&l, &source);
	uint32_t definition =
	        plan_add_definition(s->c, DEFINITION_LOOKUP, arena_printf(s->c->arena, "lookup#%zu", indexes->count), &source, 1);
	indexes->items = xgrow(indexes->items, indexes->count, &indexes->cap, sizeof(*indexes->items));
	indexes->items[indexes->count++] = (struct known_index){signature, definition};
	return definition;
}

/* ---- queriers --------------------------------------------------------------------------------------------------------- */

static const struct expr *lower_request(struct stream_compiler *s, const struct sx *e)
{
	struct lowering l = {.c = s->c};
	const struct expr *out = sx_lower(&l, e);
	lowering_free(&l);
	return out;
}

static const struct stream_key *lower_keys(struct stream_compiler *s, const struct resolved_source *t)
{
	struct stream_key *keys = arena_array(s->c->arena, struct stream_key, t->key_count + 1);
	for (size_t i = 0; i < t->key_count; i++) {
		const struct resolved_key *k = &t->keys[i];
		struct stream_value *values = arena_array(s->c->arena, struct stream_value, k->value_count);
		for (size_t j = 0; j < k->value_count; j++) {
			values[j] = (struct stream_value){0};
			if (k->values[j].request) {
				values[j].request = lower_request(s, k->values[j].request);
			} else {
				values[j].lookup = k->values[j].lookup->position;
				values[j].output = k->values[j].output;
			}
		}
		keys[i] = (struct stream_key){values, k->value_count};
	}
	return keys;
}

static void lower_lookup(struct stream_compiler *s, const struct resolved_source *t, struct stream_lookup *out)
{
	*out = (struct stream_lookup){.output_count = (uint32_t)t->output_count, .distinct = t->source->distinct};
	if (t->source->kind == SOURCE_TABLE) {
		out->definition = t->definition;
		out->keys = lower_keys(s, t);
		out->key_count = t->key_count;
		return;
	}
	struct lowering l = {.c = s->c, .functions = &t->source, .function_count = 1};
	out->each = true;
	out->argument = sx_lower(&l, t->source->argument);
	out->filters = lower_all(&l, t->filters, t->filter_count);
	out->filter_count = t->filter_count;
	out->outputs = lower_all(&l, t->outputs, t->output_count);
	lowering_free(&l);
}

/* Depth first, so that a lookup comes after those that feed its keys. */
static void place_lookup(struct resolved_source *t, struct resolved_source **order, size_t *count)
{
	if (t->position != UINT32_MAX)
		return;
	t->position = UINT32_MAX - 1; /* on the way; a cycle cannot be: resolving skips active sources */
	for (size_t i = 0; i < t->key_count; i++)
		for (size_t j = 0; j < t->keys[i].value_count; j++)
			if (t->keys[i].values[j].lookup)
				place_lookup(t->keys[i].values[j].lookup, order, count);
	t->position = (uint32_t)*count;
	order[(*count)++] = t;
}

static struct resolved_source **running_order(struct stream_compiler *s, const struct resolved_variant *v, size_t *count)
{
	size_t total = 0;
	for (size_t i = 0; i < v->stage_count; i++)
		total += v->stages[i].count;
	struct resolved_source **order = arena_array(&s->c->scratch, struct resolved_source *, total + 1);
	for (size_t i = 0; i < v->stage_count; i++)
		for (size_t j = 0; j < v->stages[i].count; j++)
			v->stages[i].items[j]->position = UINT32_MAX;
	*count = 0;
	for (size_t i = v->stage_count; i-- > 0;)
		for (size_t j = 0; j < v->stages[i].count; j++)
			place_lookup(v->stages[i].items[j], order, count);
	return order;
}

static void note_reads(const struct stream_variant *v, const struct stream_key *keys, size_t key_count, uint32_t reader,
                       uint32_t *last)
{
	for (size_t i = 0; i < key_count; i++)
		for (size_t j = 0; j < keys[i].value_count; j++)
			if (!keys[i].values[j].request)
				last[v->lookups[keys[i].values[j].lookup].slot + keys[i].values[j].output] = reader;
}

static size_t add_checks(struct stream_check *to, struct stream_lookup *lookups, const struct stream_key *keys, size_t key_count,
                         uint32_t owner)
{
	size_t added = 0;
	for (size_t i = 0; i < key_count; i++) {
		struct stream_check c = {.key = &keys[i], .owner = owner, .index = (uint32_t)i};
		bool any = false;
		for (size_t j = 0; j < keys[i].value_count && keys[i].value_count > 1; j++) {
			const struct stream_value *v = &keys[i].values[j];
			if (v->request)
				continue;
			any = true;
			lookups[v->lookup].intersected = true;
			c.last = v->lookup > c.last ? v->lookup : c.last;
		}
		if (any)
			to[added++] = c;
	}
	return added;
}

static void find_checks(struct arena *arena, struct stream_variant *v, struct stream_lookup *lookups)
{
	size_t keys = v->key_count;
	for (size_t i = 0; i < v->lookup_count; i++)
		keys += lookups[i].key_count;
	struct stream_check *checks = arena_array(arena, struct stream_check, keys + 1);
	for (size_t i = 0; i < v->lookup_count; i++)
		v->check_count +=
		        add_checks(checks + v->check_count, lookups, lookups[i].keys, lookups[i].key_count, (uint32_t)i);
	v->check_count += add_checks(checks + v->check_count, lookups, v->keys, v->key_count, UINT32_MAX);
	v->checks = checks;
}

static struct stream_variant *lower_querier(struct stream_compiler *s, const struct resolved_variant *v,
                                            struct resolved_source **order, size_t count)
{
	struct arena *arena = s->c->arena;
	struct stream_variant *out = arena_calloc(arena, sizeof(*out));
	const struct expr **filters = arena_array(arena, const struct expr *, v->request_count + 1);
	for (size_t i = 0; i < v->request_count; i++)
		filters[i] = lower_request(s, v->request[i]);
	out->filters = filters;
	out->filter_count = v->request_count;
	struct stream_lookup *lookups = arena_array(arena, struct stream_lookup, count + 1);
	for (size_t i = 0; i < count; i++) {
		lower_lookup(s, order[i], &lookups[i]);
		lookups[i].slot = (uint32_t)out->slot_count;
		out->slot_count += lookups[i].output_count;
		out->dynamic |= !lookups[i].each;
	}
	out->lookups = lookups;
	out->lookup_count = count;
	out->keys = lower_keys(s, v->root);
	out->key_count = v->root->key_count;
	uint32_t *last = arena_calloc(arena, sizeof(*last) * (out->slot_count + 1));
	for (size_t i = 0; i < count; i++)
		note_reads(out, lookups[i].keys, lookups[i].key_count, (uint32_t)i + 1, last);
	note_reads(out, out->keys, out->key_count, (uint32_t)count + 1, last);
	out->slot_last = last;
	find_checks(arena, out, lookups);
	return out;
}

void variant_compile(struct stream_compiler *s, struct index_set *indexes, struct resolved_variant *v,
                     const struct stream_column *columns, size_t column_count, struct compiled_variant *out)
{
	size_t count;
	struct resolved_source **order = running_order(s, v, &count);
	/* Parameter indexes are numbered stage by stage, the deepest first. */
	for (size_t i = v->stage_count; i-- > 0;)
		for (size_t j = 0; j < v->stages[i].count; j++)
			if (v->stages[i].items[j]->source->kind == SOURCE_TABLE)
				v->stages[i].items[j]->definition = parameter_index(s, indexes, v->stages[i].items[j]);
	out->signature = variant_signature(s, v, order, count);
	out->run = lower_querier(s, v, order, count);
	out->sources = arena_grow(&s->c->scratch, out->sources, 0, &out->source_cap, sizeof(*out->sources));
	data_source(s, v->root, columns, column_count, &out->sources[0]);
	out->source_count = 1;
}

/* ---- values sent by the client ---------------------------------------------------------------------------------------- */

enum trust { TRUST_NEUTRAL, TRUST_CLIENT, TRUST_TOKEN };

static enum trust expression_trust(struct stream_compiler *s, struct sx *e)
{
	bool client = false, token = false;
	size_t count;
	const struct sx *const *leaves = sx_leaves(s, e, &count);
	for (size_t i = 0; i < count; i++) {
		if (leaves[i]->kind != SX_REQUEST)
			continue;
		token |= leaves[i]->request == REQUEST_JWT;
		client |= leaves[i]->request != REQUEST_JWT;
	}
	return client && !token ? TRUST_CLIENT : TRUST_TOKEN;
}

static enum trust more_trusted(enum trust a, enum trust b)
{
	return a > b ? a : b;
}

/* Depth is bounded by the number of lookups; each is looked at once for every key that reads it, so the work is cut off by budget. */
static enum trust keys_trust(struct stream_compiler *s, const struct resolved_source *t, size_t *budget)
{
	enum trust out = TRUST_NEUTRAL;
	for (size_t i = 0; i < t->key_count && out != TRUST_TOKEN && *budget; i++)
		for (size_t j = 0; j < t->keys[i].value_count && out != TRUST_TOKEN && *budget; j++) {
			const struct resolved_value *v = &t->keys[i].values[j];
			--*budget;
			if (v->request)
				out = more_trusted(out, expression_trust(s, v->request));
			else if (v->lookup->source->kind == SOURCE_EACH)
				out = more_trusted(out, expression_trust(s, v->lookup->source->argument));
			else
				out = more_trusted(out, keys_trust(s, v->lookup, budget));
		}
	return out;
}

bool variant_is_dangerous(struct stream_compiler *s, const struct resolved_variant *v)
{
	size_t budget = 10000;
	enum trust out = keys_trust(s, v->root, &budget);
	for (size_t i = 0; i < v->request_count && out == TRUST_NEUTRAL; i++) {
		enum trust any = TRUST_NEUTRAL;
		for (size_t j = 0; j < v->request_count; j++)
			any = more_trusted(any, expression_trust(s, v->request[j]));
		out = any;
	}
	return out == TRUST_CLIENT;
}
