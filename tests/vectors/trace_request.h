/* trace_request.h: a trace that is replayed, its streams, and the requests that it makes. */
#ifndef SYNCLINE_TESTS_TRACE_REQUEST_H
#define SYNCLINE_TESTS_TRACE_REQUEST_H

#include "json_file.h"
#include "trace_match.h"
#include "trace_world.h"

struct trace_stream {
	char name[32];
	struct http *http; /* or ws */
	struct websocket *ws;
	struct model *model;
	json_t *pending;       /* lines that were read and not compared */
	const char *last_sent; /* ws: the label of the last frame */
};

struct trace {
	char name[64];
	json_t *steps;
	struct world world;
	struct match match;
	struct trace_stream streams[16];
	size_t stream_count;
	size_t at;              /* step */
	bool compacted;         /* from here on only the result counts, not the operations */
	json_t *expected, *got; /* of the step, for the report */
	const char *skip;
};

static const char *text_of(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static bool is_trace(const struct trace *t, const char *number)
{
	return strncmp(t->name, number, strlen(number)) == 0;
}

static struct trace_stream *stream_find(struct trace *t, const char *name)
{
	for (size_t i = 0; i < t->stream_count; i++)
		if (strcmp(t->streams[i].name, name) == 0)
			return &t->streams[i];
	return NULL;
}

static struct trace_stream *stream_add(struct trace *t, const char *name)
{
	struct trace_stream *s = &t->streams[t->stream_count++];
	*s = (struct trace_stream){.model = model_new(), .pending = json_array()};
	snprintf(s->name, sizeof(s->name), "%s", name);
	return s;
}

static void stream_close(struct trace_stream *s)
{
	if (s->http)
		http_close(s->http);
	if (s->ws)
		wire_close(&s->ws->wire);
	free(s->ws);
	s->http = NULL;
	s->ws = NULL;
	if (s->model)
		model_free(s->model);
	json_decref(s->pending);
	s->model = NULL;
	s->pending = NULL;
	s->name[0] = '\0';
}

/* ---- positions that a request names ------------------------------------------------------------------------------------------------- */

/* What a first download shows: bucket without number -> {name, ops}. */
struct survey {
	json_t *buckets;
	unsigned long long last_op;
};

static void survey_line(void *ctx, json_t *line)
{
	struct survey *s = ctx;
	json_t *c = json_object_get(line, "checkpoint"), *d = json_object_get(line, "data"), *b;
	size_t i;
	json_array_foreach(json_object_get(c, "buckets"), i, b) json_object_set_new(
	        s->buckets, without_number(str(b, "bucket")), json_pack("{s:s,s:[]}", "name", str(b, "bucket"), "ops"));
	if (c)
		s->last_op = number_of(str(c, "last_op_id"));
	b = json_object_get(s->buckets, without_number(str(d, "bucket")));
	json_t *op;
	json_array_foreach(json_object_get(d, "data"), i, op)
	        json_array_append_new(json_object_get(b, "ops"), json_string(str(op, "op_id")));
}

static unsigned long long greatest_op(json_t *v)
{
	unsigned long long most = 0, n;
	const char *k;
	size_t i;
	json_t *child;
	if (json_is_string(v) && strncmp(json_string_value(v), "$op", 3) == 0)
		return number_of(json_string_value(v) + 3);
	json_object_foreach(v, k, child) most = (n = greatest_op(child)) > most ? n : most;
	json_array_foreach(v, i, child) most = (n = greatest_op(child)) > most ? n : most;
	return most;
}

/* Operations of the bucket in the first lines that the stream is to give. */
static size_t expected_operations(struct trace *t, const char *stream, const char *bucket, unsigned long long *most)
{
	size_t n = 0, i;
	for (size_t k = t->at; k < json_array_size(t->steps); k++) {
		json_t *step = json_array_get(t->steps, k), *line;
		if (strcmp(str(step, "do"), "expect") != 0 || strcmp(str(step, "stream"), stream) != 0)
			continue;
		*most = greatest_op(json_object_get(step, "lines"));
		json_array_foreach(json_object_get(step, "lines"), i, line)
		{
			json_t *d = json_object_get(line, "data");
			if (strcmp(str(d, "bucket"), bucket) == 0)
				n += json_array_size(json_object_get(d, "data"));
		}
		break;
	}
	return n;
}

/* A position is bound, or it is told by how many operations follow it, or it lies beyond everything. */
static void resolve_position(struct trace *t, const char *stream, json_t *entry, struct survey *s)
{
	const char *after = str(entry, "after"), *bucket = str(entry, "name");
	char key[1024], value[32];
	snprintf(key, sizeof(key), "bucket %s", bucket);
	const char *name = text_of(t->match.bound, key), *op = text_of(t->match.bound, after);
	json_t *seen = json_object_get(s->buckets, without_number(bucket));
	unsigned long long most = 0;
	size_t follow = expected_operations(t, stream, bucket, &most), n = json_array_size(json_object_get(seen, "ops"));
	if (*after != '$')
		snprintf(value, sizeof(value), "%s", after);
	else if (op)
		snprintf(value, sizeof(value), "%s", op);
	else if (number_of(after + 3) > most || !seen)
		snprintf(value, sizeof(value), "%llu", s->last_op + 1000);
	else
		snprintf(value, sizeof(value), "%s",
		         follow < n ? json_string_value(json_array_get(json_object_get(seen, "ops"), n - follow - 1)) : "0");
	json_object_set_new(entry, "after", json_string(value));
	if (name || seen)
		json_object_set_new(entry, "name", json_string(name ? name : str(seen, "name")));
}

/* The body as text, with names and positions of this run; owned by the caller; NULL: none. */
static char *request_body(struct trace *t, json_t *request, const char *stream, struct model *model)
{
	if (text_of(request, "raw_body"))
		return strdup(text_of(request, "raw_body"));
	json_t *given = json_object_get(request, "body");
	if (!given)
		return NULL;
	json_t *body = json_deep_copy(given), *list = json_object_get(body, "buckets"), *entry;
	struct survey s = {.buckets = json_object()};
	size_t i;
	if (stream && json_is_array(list) && json_array_size(list))
		first_sync(&t->world, "{}", survey_line, &s);
	json_array_foreach(list, i, entry)
	{
		if (stream && model && json_is_string(json_object_get(entry, "name"))) {
			resolve_position(t, stream, entry, &s);
			json_object_set(model->positions, str(entry, "name"), json_object_get(entry, "after"));
		} else if (strncmp(str(entry, "after"), "$op", 3) == 0) {
			json_object_set_new(entry, "after", json_string("1"));
		}
	}
	json_decref(s.buckets);
	char *text = json_dumps(body, JSON_COMPACT);
	json_decref(body);
	return text;
}

/* Owned by the caller. NULL: no token. */
static char *request_token(json_t *request, const char *label)
{
	json_t *token = json_object_get(request, "token");
	if (json_is_object(token)) {
		json_t *seconds = json_object_get(token, "expires_in_s");
		return make_token(str(token, "sub"), seconds ? (long)json_integer_value(seconds) : 3600, "powersync-dev");
	}
	if (!json_is_string(token))
		return NULL;
	if (strstr(label, "expired"))
		return make_token("user1", -100, "powersync-dev");
	return strstr(label, "audience") ? make_token("user1", 3600, "other") : strdup("abc");
}

static struct http *send_request(struct trace *t, json_t *step, const char *stream, struct model *model)
{
	json_t *request = json_object_get(step, "request"), *value;
	char *token = request_token(request, str(step, "label")), *body = request_body(t, request, stream, model);
	struct buf b = {0};
	const char *name;
	bool typed = false;
	json_object_foreach(json_object_get(request, "headers"), name, value)
	{
		const char *v = json_string_value(value), *mark = strstr(v, "<jwt>");
		char *good = make_token("user1", 3600, "powersync-dev");
		typed |= strcasecmp(name, "content-type") == 0;
		buf_printf(&b, "%s: %.*s%s\r\n", name, mark ? (int)(mark - v) : (int)strlen(v), v, mark ? good : "");
		free(good);
	}
	if (token)
		buf_printf(&b, "Authorization: Token %s\r\n", token);
	if (body && !typed)
		buf_lit(&b, "Content-Type: application/json\r\n");
	buf_putc(&b, '\0');
	struct http *h = http_send(t->world.port, str(request, "method"), str(request, "path"), b.p, body);
	buf_free(&b);
	free(token);
	free(body);
	return h;
}

#endif
