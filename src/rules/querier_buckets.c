/* querier_buckets.c: parameter queries of bucket definitions on a request (sync-config 15). */
#include "rules/buckets.h"
#include "rules/querier.h"

struct table_part {
	struct dynamic_part base;
	const struct parameter_query *query;
	struct slice *lookups; /* keys to look up */
	size_t lookup_count;
	struct slice *values; /* JSON texts of the columns that come from the request; p == NULL: stored */
	const char *failure;  /* a column of the request cannot be evaluated: matters once there is a row */
};

static bool failed(const struct error *inner, struct error *err)
{
	return error_set(err, "PSYNC_S2001", "a parameter query failed: %s", inner->message);
}

/* The value of column i: a repeated name has the last value everywhere. */
static size_t column_of_name(const struct parameter_query *query, size_t i)
{
	for (size_t j = query->column_count; j-- > i;)
		if (slice_eq(query->columns[j].name, query->columns[i].name))
			return j;
	return i;
}

static struct slice keys_text(struct arena *arena, const struct parameter_query *query, const struct value *values)
{
	struct buf out = {0};
	buf_putc(&out, '[');
	for (size_t i = 0; i < query->column_count; i++) {
		if (i)
			buf_putc(&out, ',');
		value_bucket_key(&out, &values[column_of_name(query, i)]);
	}
	buf_putc(&out, ']');
	struct slice text = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

/* Adds the bucket of a static query or of one json_each element, if WHERE holds. */
static bool add_static(struct querier *q, const struct unit *u, const struct parameter_query *query, struct eval_env *env)
{
	bool holds = true;
	if (query->where && !expr_truth(query->where, env, &holds))
		return false;
	if (!holds)
		return true;
	struct value *values = arena_array(&q->arena, struct value, query->column_count + 1);
	bool blob = false;
	for (size_t i = 0; i < query->column_count; i++) {
		if (!expr_eval(query->columns[i].request, env, &values[i]))
			return false;
		if (values[i].kind == VALUE_ABSENT)
			values[i].kind = VALUE_NULL;
		blob |= values[i].kind == VALUE_BLOB;
	}
	if (blob)
		return query->kind == PARAMETER_STATIC || error_set(env->err, "", "a bucket parameter is binary");
	bucket_set_add(&q->fixed, u->stream->definition, keys_text(&q->arena, query, values), query->priority, u->reason);
	return true;
}

static bool add_elements(struct querier *q, const struct unit *u, const struct parameter_query *query, struct eval_env *env)
{
	struct value argument = value_integer(1);
	struct json_each_row *rows;
	size_t count;
	if (query->argument && !expr_eval(query->argument, env, &argument))
		return false;
	/* A missing member counts as NULL. */
	if (argument.kind == VALUE_ABSENT)
		argument.kind = VALUE_NULL;
	if (!json_each(&argument, env->fixed_json_extract, &q->arena, &rows, &count, env->err))
		return false;
	const struct json_each_row **element = arena_array(&q->arena, const struct json_each_row *, 1);
	env->elements = element;
	for (size_t i = 0; i < count; i++) {
		*element = &rows[i];
		if (!add_static(q, u, query, env))
			return false;
	}
	return true;
}

/* ---- table queries ---------------------------------------------------------------------------------------------------- */

/* The elements of an expanding parameter: none unless it is the text of a JSON array. */
static struct json_node array_elements(const struct value *v, struct arena *arena)
{
	struct json_node array = {.kind = JSON_KIND_ARRAY};
	struct json_node read;
	struct error ignored;
	if (v->kind == VALUE_TEXT && json_read(v->s, JSON_DOUBLES, arena, &read, &ignored) && read.kind == JSON_KIND_ARRAY)
		array = read;
	return array;
}

static const struct match_parameter *expanding_parameter(const struct parameter_query *query)
{
	for (size_t i = 0; i < query->parameter_count; i++)
		if (query->parameters[i].expanding)
			return &query->parameters[i];
	return NULL;
}

struct lookup_values {
	struct value *values; /* of the scalar parameters */
	struct json_node elements;
	bool expanding;
	bool none; /* no lookups at all */
};

static bool read_lookup_values(const struct parameter_query *query, struct eval_env *env, struct lookup_values *out)
{
	*out = (struct lookup_values){.values = arena_array(env->arena, struct value, query->parameter_count + 1)};
	const struct match_parameter *expanding = expanding_parameter(query);
	struct value v;
	if (expanding) {
		if (!expr_eval(expanding->value, env, &v))
			return false;
		out->elements = array_elements(&v, env->arena);
		out->expanding = true;
		out->none = out->elements.array.count == 0;
		if (out->none)
			return true;
	}
	for (size_t i = 0; i < query->parameter_count; i++) {
		const struct match_parameter *p = &query->parameters[i];
		if (p->expanding)
			continue;
		if (!expr_eval(p->value, env, &v))
			return false;
		if (p->truth)
			v = value_integer(value_truth(&v));
		if (v.kind == VALUE_ABSENT)
			v.kind = VALUE_NULL;
		out->none |= v.kind == VALUE_BLOB;
		out->values[i] = v;
	}
	return true;
}

static struct slice lookup_text(struct arena *arena, const struct parameter_query *query, const struct lookup_values *v,
                                size_t element)
{
	struct buf out = {0};
	buf_putc(&out, '[');
	for (size_t i = 0; i < query->parameter_count; i++) {
		if (i)
			buf_putc(&out, ',');
		if (query->parameters[i].expanding)
			json_lookup_key(&out, &v->elements.array.items[element]);
		else
			value_lookup_key(&out, &v->values[i]);
	}
	buf_putc(&out, ']');
	struct slice text = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

/* Bucket keys from one stored object. */
static struct slice stored_keys(struct arena *arena, const struct table_part *part, const struct json_node *object)
{
	struct buf out = {0};
	const struct parameter_query *query = part->query;
	buf_putc(&out, '[');
	for (size_t i = 0; i < query->column_count; i++) {
		size_t column = column_of_name(query, i);
		if (i)
			buf_putc(&out, ',');
		const struct json_node *n = json_find(object, query->columns[column].name);
		if (part->values[column].p)
			buf_slice_append(&out, part->values[column]);
		else if (n)
			json_write(&out, n, JSON_STYLE_SHORT_NUMBERS);
		else
			buf_lit(&out, "null");
	}
	buf_putc(&out, ']');
	struct slice text = arena_copy(arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

/* The one query of a bucket definition: run only says that its lookups were wanted. */
static bool step_table_part(const struct dynamic_part *base, struct resolver *r, void **run, bool *waits)
{
	const struct table_part *part = (const struct table_part *)base;
	if (*run)
		return true;
	*run = r;
	if (r->limits && part->lookup_count > r->limits->max_parameter_results)
		return resolver_too_many(r);
	resolver_begin_call(r);
	for (size_t i = 0; i < part->lookup_count; i++)
		if (!resolver_want(r, part->query->lookup, part->lookups[i], waits))
			return false;
	return true;
}

static bool finish_table_part(const struct dynamic_part *base, struct resolver *r, void *run, struct bucket_set *out)
{
	(void)run;
	const struct table_part *part = (const struct table_part *)base;
	for (size_t i = 0; i < part->lookup_count; i++) {
		const struct known_lookup *l;
		if (!resolver_lookup(r, part->query->lookup, part->lookups[i], COUNT_ALL, &l))
			return false;
		if (l->count && part->failure)
			return error_set(r->err, "PSYNC_S2001", "a parameter query failed: %s", part->failure);
		for (size_t j = 0; part->values && j < l->count; j++)
			bucket_set_add(out, base->unit->stream->definition, stored_keys(r->arena, part, &l->objects[j]),
			               part->query->priority, base->unit->reason);
	}
	return true;
}

/* Values of the request's columns as texts; NULL if one is binary, then the query gives no bucket. */
static bool request_values(const struct parameter_query *query, struct eval_env *env, struct slice **out)
{
	struct slice *values = arena_array(env->arena, struct slice, query->column_count + 1);
	*out = values;
	for (size_t i = 0; i < query->column_count; i++) {
		struct value v;
		values[i] = (struct slice){0};
		if (!query->columns[i].request)
			continue;
		if (!expr_eval(query->columns[i].request, env, &v))
			return false;
		if (v.kind == VALUE_BLOB) {
			*out = NULL;
			continue;
		}
		if (v.kind == VALUE_ABSENT)
			v.kind = VALUE_NULL;
		struct buf text = {0};
		value_bucket_key(&text, &v);
		values[i] = arena_copy(env->arena, buf_slice(&text));
		buf_free(&text);
	}
	return true;
}

static bool prepare_table(struct querier *q, const struct unit *u, const struct parameter_query *query, struct eval_env *env)
{
	struct lookup_values v;
	if (!read_lookup_values(query, env, &v))
		return false;
	if (v.none)
		return true;
	struct table_part *part = arena_calloc(&q->arena, sizeof(*part));
	part->base = (struct dynamic_part){.unit = u, .step = step_table_part, .finish = finish_table_part};
	part->query = query;
	part->lookup_count = v.expanding ? v.elements.array.count : 1;
	if (part->lookup_count > QUERIER_MAX_COMBINATIONS)
		return error_set(env->err, "PSYNC_S2305", "Too many parameter query results (limit of %d)",
		                 QUERIER_MAX_COMBINATIONS);
	part->lookups = arena_array(&q->arena, struct slice, part->lookup_count);
	for (size_t i = 0; i < part->lookup_count; i++)
		part->lookups[i] = lookup_text(&q->arena, query, &v, i);
	if (!request_values(query, env, &part->values))
		part->failure = arena_cstr(&q->arena, slice_cstr(env->err->message));
	querier_add_part(q, &part->base);
	return true;
}

bool buckets_prepare(struct querier *q, const struct unit *u, struct error *err)
{
	for (size_t i = 0; i < u->stream->variant_count; i++) {
		const struct parameter_query *query = &u->stream->queries[i];
		struct error inner = {.code = ""};
		struct eval_env env = unit_env(q, u, &q->arena, &inner);
		bool ok = query->kind == PARAMETER_STATIC      ? add_static(q, u, query, &env)
		          : query->kind == PARAMETER_JSON_EACH ? add_elements(q, u, query, &env)
		                                               : prepare_table(q, u, query, &env);
		if (ok)
			continue;
		if (inner.code[0])
			return error_set(err, inner.code, "%s", inner.message);
		return failed(&inner, err);
	}
	return true;
}
