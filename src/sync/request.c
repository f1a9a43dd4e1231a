/*
 * request.c: the body of POST /sync/stream (sync-protocol 2).
 *
 * Validation answers with the texts that the reference's schema validator would give, all of them, in field order. An object that
 * lacks several required members is reported once, for the last of them, as recorded (trace 23).
 */
#include "sync/session.h"

#include "value/json.h"

/* A body of many faults must not make an answer many times its size. */
#define MAX_VALIDATION_ERRORS 100
#define MAX_METADATA_KEYS 20
#define MAX_METADATA_CHARACTERS 100

struct validation {
	struct arena *arena;
	struct buf errors; /* JSON array, without the closing bracket */
	size_t count;
};

static void report(struct validation *v, struct slice text)
{
	if (v->count >= MAX_VALIDATION_ERRORS)
		return;
	buf_putc(&v->errors, v->count++ ? ',' : '[');
	json_string(&v->errors, text);
}

static void report_type(struct validation *v, struct slice path, const char *type)
{
	report(v, arena_printf(v->arena, "%.*s: type must be %s", SLICE_ARG(path), type));
}

static void report_missing(struct validation *v, struct slice path, const char *property)
{
	report(v, arena_printf(v->arena, "%.*s must have required property '%s'", SLICE_ARG(path), property));
}

/* One of the two branches of "object or null", "number or null" has to match. */
static void report_union(struct validation *v, struct slice path, const char *type)
{
	report_type(v, path, type);
	report_type(v, path, "null");
	report(v, arena_printf(v->arena, "%.*s: anyOf must match a schema in anyOf", SLICE_ARG(path)));
}

/* NULL when the member is missing or is of another kind, which is reported. */
static const struct json_node *typed(struct validation *v, const struct json_node *object, struct slice key, struct slice parent,
                                     enum json_kind kind, const char *type)
{
	const struct json_node *n = json_find(object, key);
	if (!n || n->kind == kind)
		return n;
	report_type(v, arena_printf(v->arena, "%.*s/%.*s", SLICE_ARG(parent), SLICE_ARG(key)), type);
	return NULL;
}

static bool flag(struct validation *v, const struct json_node *object, struct slice key, struct slice parent, bool fallback)
{
	const struct json_node *n = typed(v, object, key, parent, JSON_KIND_BOOLEAN, "boolean");
	return n ? n->b : fallback;
}

/* Null is "absent" for these two (clients of some SDKs send it). */
static const struct json_node *object_or_absent(struct validation *v, const struct json_node *body, struct slice key)
{
	const struct json_node *n = json_find(body, key);
	if (n && n->kind == JSON_KIND_NULL)
		return NULL;
	return typed(v, body, key, SLICE(""), JSON_KIND_OBJECT, "object");
}

/* [0-9]+ up to the greatest int64; leading zeros, and the empty text for 0, are fine. */
static bool parse_after(struct slice text, uint64_t *out)
{
	*out = 0;
	return text.n == 0 || slice_parse_u64(text, INT64_MAX, out);
}

static void read_bucket(struct validation *v, const struct json_node *n, size_t index, struct bucket_position *out)
{
	struct slice path = arena_printf(v->arena, "/buckets/%zu", index);
	if (n->kind != JSON_KIND_OBJECT) {
		report_type(v, path, "object");
		return;
	}
	if (!json_find(n, SLICE("after")) || !json_find(n, SLICE("name"))) {
		report_missing(v, path, json_find(n, SLICE("after")) ? "name" : "after");
		return;
	}
	const struct json_node *name = typed(v, n, SLICE("name"), path, JSON_KIND_STRING, "string");
	const struct json_node *after = typed(v, n, SLICE("after"), path, JSON_KIND_STRING, "string");
	if (name)
		out->name = name->s;
	if (after && !parse_after(after->s, &out->after))
		report(v,
		       arena_printf(v->arena, "%.*s/after: must be a decimal number up to 9223372036854775807", SLICE_ARG(path)));
}

static void read_buckets(struct validation *v, const struct json_node *body, struct sync_request *out)
{
	const struct json_node *list = typed(v, body, SLICE("buckets"), SLICE(""), JSON_KIND_ARRAY, "array");
	if (!list || !list->array.count)
		return;
	struct bucket_position *positions = arena_calloc(v->arena, sizeof(*positions) * list->array.count);
	for (size_t i = 0; i < list->array.count && v->count < MAX_VALIDATION_ERRORS; i++)
		read_bucket(v, &list->array.items[i], i, &positions[i]);
	out->buckets = positions;
	out->bucket_count = list->array.count;
}

/* Ignored, but still of the right type. */
static void check_only(struct validation *v, const struct json_node *body)
{
	const struct json_node *list = typed(v, body, SLICE("only"), SLICE(""), JSON_KIND_ARRAY, "array");
	for (size_t i = 0; list && i < list->array.count && v->count < MAX_VALIDATION_ERRORS; i++)
		if (list->array.items[i].kind != JSON_KIND_STRING)
			report_type(v, arena_printf(v->arena, "/only/%zu", i), "string");
}

/* A member name as a part of a JSON pointer. */
static struct slice pointer_part(struct arena *arena, struct slice key)
{
	char *p = arena_bytes(arena, key.n * 2);
	size_t n = 0;
	for (size_t i = 0; i < key.n; i++) {
		if (key.p[i] == '~' || key.p[i] == '/') {
			p[n++] = '~';
			p[n++] = key.p[i] == '~' ? '0' : '1';
		} else {
			p[n++] = key.p[i];
		}
	}
	return slice_make(p, n);
}

/* The first characters of a UTF-8 text. */
static struct slice cut_characters(struct slice s, size_t max)
{
	size_t characters = 0;
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] & 0xC0) != 0x80 && characters++ == max)
			return slice_make(s.p, i);
	return s;
}

static void read_metadata(struct validation *v, const struct json_node *body, struct sync_request *out)
{
	const struct json_node *n = object_or_absent(v, body, SLICE("app_metadata"));
	if (!n)
		return;
	struct buf text = {0};
	buf_putc(&text, '{');
	for (size_t i = 0; i < n->object.count && v->count < MAX_VALIDATION_ERRORS; i++) {
		const struct json_member *m = &n->object.members[i];
		if (m->value.kind != JSON_KIND_STRING) {
			struct slice key = pointer_part(v->arena, m->key);
			report_type(v, arena_printf(v->arena, "/app_metadata/%.*s", SLICE_ARG(key)), "string");
			continue;
		}
		if (i >= MAX_METADATA_KEYS)
			continue;
		if (i)
			buf_putc(&text, ',');
		json_string(&text, cut_characters(m->key, MAX_METADATA_CHARACTERS));
		buf_putc(&text, ':');
		json_string(&text, cut_characters(m->value.s, MAX_METADATA_CHARACTERS));
	}
	buf_putc(&text, '}');
	out->app_metadata = arena_copy(v->arena, buf_slice(&text));
	buf_free(&text);
}

static void read_override(struct validation *v, const struct json_node *n, struct slice path, struct subscription_request *out)
{
	path = arena_printf(v->arena, "%.*s/override_priority", SLICE_ARG(path));
	double priority = -1;
	if (n->kind == JSON_KIND_NULL)
		return;
	else if (n->kind == JSON_KIND_INTEGER)
		priority = (double)n->i;
	else if (n->kind == JSON_KIND_REAL)
		priority = n->r;
	else if (n->kind != JSON_KIND_BIG_INTEGER) {
		report_union(v, path, "number");
		return;
	}
	if (priority == 0 || priority == 1 || priority == 2 || priority == 3)
		out->override_priority = (int)priority;
	else
		report(v, arena_printf(v->arena, "%.*s: must be an integer from 0 to 3", SLICE_ARG(path)));
}

static void read_subscription(struct validation *v, const struct json_node *n, size_t index, struct subscription_request *out)
{
	struct slice path = arena_printf(v->arena, "/streams/subscriptions/%zu", index);
	out->override_priority = -1;
	if (n->kind != JSON_KIND_OBJECT) {
		report_type(v, path, "object");
		return;
	}
	const struct json_node *parameters = json_find(n, SLICE("parameters"));
	const struct json_node *priority = json_find(n, SLICE("override_priority"));
	const char *missing = !priority                        ? "override_priority"
	                      : !parameters                    ? "parameters"
	                      : !json_find(n, SLICE("stream")) ? "stream"
	                                                       : NULL;
	if (missing) {
		report_missing(v, path, missing);
		return;
	}
	const struct json_node *stream = typed(v, n, SLICE("stream"), path, JSON_KIND_STRING, "string");
	if (stream)
		out->stream = stream->s;
	if (parameters->kind == JSON_KIND_OBJECT)
		out->parameters = json_to_text(parameters, JSON_STYLE_PLAIN, v->arena);
	else if (parameters->kind != JSON_KIND_NULL)
		report_union(v, arena_printf(v->arena, "%.*s/parameters", SLICE_ARG(path)), "object");
	read_override(v, priority, path, out);
}

static void read_streams(struct validation *v, const struct json_node *body, struct sync_request *out)
{
	const struct json_node *streams = typed(v, body, SLICE("streams"), SLICE(""), JSON_KIND_OBJECT, "object");
	if (!streams)
		return;
	struct slice path = SLICE("/streams");
	if (!json_find(streams, SLICE("subscriptions"))) {
		report_missing(v, path, "subscriptions");
		return;
	}
	out->include_defaults = flag(v, streams, SLICE("include_defaults"), path, true);
	const struct json_node *list = typed(v, streams, SLICE("subscriptions"), path, JSON_KIND_ARRAY, "array");
	if (!list || !list->array.count)
		return;
	struct subscription_request *subscriptions = arena_calloc(v->arena, sizeof(*subscriptions) * list->array.count);
	for (size_t i = 0; i < list->array.count && v->count < MAX_VALIDATION_ERRORS; i++)
		read_subscription(v, &list->array.items[i], i, &subscriptions[i]);
	out->subscriptions = subscriptions;
	out->subscription_count = list->array.count;
}

/* In the order of the schema, which is that of the errors. */
static void read_body(struct validation *v, const struct json_node *body, struct sync_request *out)
{
	read_buckets(v, body, out);
	check_only(v, body);
	flag(v, body, SLICE("include_checksum"), SLICE(""), true);
	out->raw_data = flag(v, body, SLICE("raw_data"), SLICE(""), false);
	const struct json_node *client_id = typed(v, body, SLICE("client_id"), SLICE(""), JSON_KIND_STRING, "string");
	if (client_id)
		out->client_id = client_id->s.p ? client_id->s : SLICE("");
	const struct json_node *parameters = object_or_absent(v, body, SLICE("parameters"));
	if (parameters)
		out->parameters = json_to_text(parameters, JSON_STYLE_PLAIN, v->arena);
	read_metadata(v, body, out);
	read_streams(v, body, out);
}

bool sync_request_parse(struct slice body, struct arena *arena, struct sync_request *out, struct slice *details,
                        struct error *err)
{
	*out = (struct sync_request){.include_defaults = true};
	*details = (struct slice){0};
	if (body.n == 0)
		return error_set(err, "FST_ERR_CTP_EMPTY_JSON_BODY",
		                 "Body cannot be empty when content-type is set to 'application/json'");
	struct json_node root;
	struct error cause;
	/* Strings point into the text, so that it has to live as long as the request. */
	if (!json_read(arena_copy(arena, body), JSON_DOUBLES, arena, &root, &cause))
		return error_set(err, "FST_ERR_CTP_INVALID_JSON_BODY",
		                 "Body is not valid JSON but content-type is set to 'application/json'");
	if (root.kind != JSON_KIND_OBJECT)
		return true; /* counts as {} */
	struct validation v = {.arena = arena};
	read_body(&v, &root, out);
	if (!v.count)
		return true;
	buf_putc(&v.errors, ']');
	*details = arena_copy(arena, buf_slice(&v.errors));
	buf_free(&v.errors);
	return error_set(err, "PSYNC_S2001", "Validation failed");
}
