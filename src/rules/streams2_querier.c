/* streams2_querier.c: variants of edition 2 streams on a request (sync-streams 12). */
#include "rules/streams2.h"

#include "rules/compile.h"
#include "rules/querier.h"

/* Texts that a key may have in the bucket name. */
struct key_texts {
	struct slice *items;
	size_t count;
};

struct variant2_part {
	struct dynamic_part base;
	const struct stream2_variant *variant;
	struct slice *lookups;  /* key texts */
	struct key_texts *keys; /* of the request; those of lookups are filled at each resolution */
};

static struct slice key_text(struct arena *arena, const struct value *v)
{
	struct buf out = {0};
	struct value null = value_null();
	value_bucket_key(&out, v->kind == VALUE_ABSENT ? &null : v);
	struct slice text = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

/* ---- preparing -------------------------------------------------------------------------------------------------------- */

static bool request_key(const struct stream2_key *key, struct eval_env *env, struct key_texts *out)
{
	struct value v;
	if (!expr_eval(key->request, env, &v))
		return false;
	if (key->source == STREAM2_REQUEST) {
		out->items = arena_array(env->arena, struct slice, 1);
		out->count = v.kind != VALUE_BLOB;
		if (out->count)
			out->items[0] = key_text(env->arena, &v);
		return true;
	}
	struct json_each_row *rows;
	size_t count;
	if (v.kind == VALUE_ABSENT)
		v.kind = VALUE_NULL;
	if (!json_each(&v, env->fixed_json_extract, env->arena, &rows, &count, env->err))
		return false;
	if (count > QUERIER_MAX_COMBINATIONS)
		return error_set(env->err, "", "the list has more than %d elements", QUERIER_MAX_COMBINATIONS);
	out->items = arena_array(env->arena, struct slice, count + 1);
	for (size_t i = 0; i < count; i++)
		out->items[out->count++] = key_text(env->arena, &rows[i].value);
	return true;
}

static bool lookup_key(const struct stream2_lookup *l, struct eval_env *env, struct slice *out)
{
	struct buf text = {0};
	bool ok = true;
	buf_putc(&text, '[');
	for (size_t i = 0; i < l->key_count && ok; i++) {
		struct value v = value_null();
		ok = expr_eval(l->keys[i], env, &v);
		if (v.kind == VALUE_ABSENT || v.kind == VALUE_BLOB)
			v.kind = VALUE_NULL; /* finds nothing */
		if (i)
			buf_putc(&text, ',');
		if (ok)
			value_lookup_key(&text, &v);
	}
	buf_putc(&text, ']');
	*out = arena_copy(env->arena, buf_slice(&text));
	buf_free(&text);
	return ok;
}

enum outcome { OUTCOME_NOTHING, OUTCOME_READY, OUTCOME_ERROR };

static enum outcome prepare_variant(const struct stream2_variant *v, struct eval_env *env, struct variant2_part *part)
{
	for (size_t i = 0; i < v->filter_count; i++) {
		bool pass;
		if (!expr_truth(v->filters[i], env, &pass))
			return OUTCOME_ERROR;
		if (!pass)
			return OUTCOME_NOTHING;
	}
	part->lookups = arena_array(env->arena, struct slice, v->lookup_count + 1);
	part->keys = arena_calloc(env->arena, sizeof(*part->keys) * (v->key_count + 1));
	for (size_t i = 0; i < v->lookup_count; i++)
		if (!lookup_key(&v->lookups[i], env, &part->lookups[i]))
			return OUTCOME_ERROR;
	for (size_t i = 0; i < v->key_count; i++) {
		if (v->keys[i].source == STREAM2_LOOKUP)
			continue;
		if (!request_key(&v->keys[i], env, &part->keys[i]))
			return OUTCOME_ERROR;
		if (!part->keys[i].count)
			return OUTCOME_NOTHING;
	}
	return OUTCOME_READY;
}

/* ---- buckets ---------------------------------------------------------------------------------------------------------- */

/* Every combination of keys, the first slowest. False: too many. */
static bool add_buckets(const struct stream2_variant *v, const struct key_texts *keys, const struct unit *u,
                        struct bucket_set *out)
{
	size_t total = 1;
	for (size_t i = 0; i < v->key_count; i++) {
		if (keys[i].count && total > QUERIER_MAX_COMBINATIONS / keys[i].count)
			return false;
		total *= keys[i].count;
	}
	struct buf text = {0};
	for (size_t n = 0; n < total; n++) {
		size_t block = total;
		buf_clear(&text);
		buf_putc(&text, '[');
		for (size_t i = 0; i < v->key_count; i++) {
			block /= keys[i].count;
			if (i)
				buf_putc(&text, ',');
			buf_slice_append(&text, keys[i].items[n / block % keys[i].count]);
		}
		buf_putc(&text, ']');
		bucket_set_add(out, v->definition, arena_copy(out->arena, buf_slice(&text)), u->priority, u->reason);
	}
	buf_free(&text);
	return true;
}

static bool results_of(struct resolver *r, const struct stream2_lookup *l, struct slice key, struct key_texts *out)
{
	const struct known_lookup *known;
	if (!resolver_lookup(r, l->definition, key, COUNT_ALL, &known))
		return false;
	out->items = arena_array(r->arena, struct slice, known->count + 1);
	out->count = 0;
	for (size_t i = 0; i < known->count; i++) {
		const struct json_node *n = json_find(&known->objects[i], SLICE("result"));
		if (n)
			out->items[out->count++] = json_to_text(n, JSON_STYLE_SHORT_NUMBERS, r->arena);
	}
	return true;
}

/* All lookups of a variant depend on the request alone: run only says that they were wanted. */
static bool step_part(const struct dynamic_part *base, struct resolver *r, void **run, bool *waits)
{
	const struct variant2_part *part = (const struct variant2_part *)base;
	if (*run)
		return true;
	*run = r;
	for (size_t i = 0; i < part->variant->lookup_count; i++) {
		resolver_begin_call(r);
		if (!resolver_want(r, part->variant->lookups[i].definition, part->lookups[i], waits))
			return false;
	}
	return true;
}

static bool finish_part(const struct dynamic_part *base, struct resolver *r, void *run, struct bucket_set *out)
{
	(void)run;
	const struct variant2_part *part = (const struct variant2_part *)base;
	const struct stream2_variant *v = part->variant;
	struct key_texts *results = arena_calloc(r->arena, sizeof(*results) * (v->lookup_count + 1));
	struct key_texts *keys = arena_array(r->arena, struct key_texts, v->key_count + 1);
	bool empty = false;
	for (size_t i = 0; i < v->lookup_count; i++) {
		if (!results_of(r, &v->lookups[i], part->lookups[i], &results[i]))
			return false;
		empty |= !results[i].count;
	}
	if (empty)
		return true;
	for (size_t i = 0; i < v->key_count; i++)
		keys[i] = v->keys[i].source == STREAM2_LOOKUP ? results[v->keys[i].lookup] : part->keys[i];
	return add_buckets(v, keys, base->unit, out) || resolver_too_many(r);
}

bool streams2_prepare(struct querier *q, const struct unit *u, struct error *err)
{
	for (size_t i = 0; i < u->stream->variant_count; i++) {
		const struct stream2_variant *v = &u->stream->variants2[i];
		struct error inner = {.code = ""};
		struct eval_env env = unit_env(q, u, &q->arena, &inner);
		struct variant2_part *part = arena_calloc(&q->arena, sizeof(*part));
		part->base = (struct dynamic_part){.unit = u, .step = step_part, .finish = finish_part};
		part->variant = v;
		enum outcome outcome = prepare_variant(v, &env, part);
		if (outcome == OUTCOME_ERROR)
			querier_stream_error(q, u, inner.message);
		else if (outcome == OUTCOME_READY && v->lookup_count)
			querier_add_part(q, &part->base);
		else if (outcome == OUTCOME_READY && !add_buckets(v, part->keys, u, &q->fixed))
			return error_set(err, "PSYNC_S2305", "Too many parameter query results (limit of %d)",
			                 QUERIER_MAX_COMBINATIONS);
	}
	return true;
}

void stream2_variant_print(const struct stream2_variant *v, struct buf *out)
{
	static const char *const sources[] = {"", "each of ", "result of #"};
	buf_printf(out, "  variant of buckets %u\n", v->definition);
	for (size_t i = 0; i < v->filter_count; i++) {
		buf_lit(out, "    if ");
		expr_print(out, v->filters[i]);
		buf_putc(out, '\n');
	}
	for (size_t i = 0; i < v->lookup_count; i++) {
		buf_printf(out, "    #%zu lookup %u by", i, v->lookups[i].definition);
		for (size_t j = 0; j < v->lookups[i].key_count; j++) {
			buf_putc(out, ' ');
			expr_print(out, v->lookups[i].keys[j]);
		}
		buf_putc(out, '\n');
	}
	for (size_t i = 0; i < v->key_count; i++) {
		buf_printf(out, "    key %s", sources[v->keys[i].source]);
		if (v->keys[i].source == STREAM2_LOOKUP)
			buf_printf(out, "%u", v->keys[i].lookup);
		else
			expr_print(out, v->keys[i].request);
		buf_putc(out, '\n');
	}
}
