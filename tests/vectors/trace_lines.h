/* trace_lines.h: what comes over HTTP, held against what the trace expects. */
#ifndef SYNCLINE_TESTS_TRACE_LINES_H
#define SYNCLINE_TESTS_TRACE_LINES_H

#include "trace_request.h"

/* ---- reading -------------------------------------------------------------------------------------------------------------------------- */

static bool note_line(struct trace *t, struct trace_stream *s, json_t *line)
{
	json_array_append(t->got, line);
	return model_line(&t->match, s->model, line);
}

static bool seen_enough(json_t *expected, json_t *got)
{
	size_t i, wanted = 0, have = 0;
	json_t *line;
	const char *kind = only_key(json_array_get(expected, json_array_size(expected) - 1));
	json_array_foreach(expected, i, line) wanted += is_line(line, kind);
	json_array_foreach(got, i, line) have += is_line(line, kind);
	return have >= wanted;
}

/* Reads until as many lines of the kind of the last expected one are there. */
static bool read_lines(struct trace *t, struct trace_stream *s)
{
	while (json_array_size(t->expected) && !seen_enough(t->expected, t->got)) {
		json_t *line = NULL;
		enum got got = http_line(s->http, clock_mono_ms() + PATIENCE_MS, &line);
		if (got != GOT_IT)
			return differ(&t->match, got == GOT_END ? "the stream ended" : "no further line came");
		bool ok = note_line(t, s, line);
		json_decref(line);
		if (!ok)
			return false;
	}
	return true;
}

static bool check_headers(struct trace *t, struct http *h, json_t *headers)
{
	const char *name;
	json_t *value;
	char came[512];
	json_object_foreach(headers, name, value)
	{
		const char *v = http_header(h, name, came, sizeof(came));
		if (!v || strcmp(v, json_string_value(value)) != 0)
			return differ(&t->match, "header %s is %s instead of %s", name, v ? v : "missing",
			              json_string_value(value));
	}
	return true;
}

static bool check_status(struct trace *t, struct http *h, json_t *step)
{
	json_t *status = json_object_get(step, "status");
	if (http_read_head(h, clock_mono_ms() + PATIENCE_MS) != GOT_IT)
		return differ(&t->match, "no answer");
	if (status && json_integer_value(status) != h->status)
		return differ(&t->match, "status %d instead of %d", h->status, (int)json_integer_value(status));
	return check_headers(t, h, json_object_get(step, "headers"));
}

/* After a compaction: the rows that a client holds, folded from the recorded lines in the same way. */
static bool same_rows(struct trace *t, struct trace_stream *s, json_t *recorded)
{
	size_t i, k;
	json_t *line, *op;
	struct model *o = model_new();
	json_array_foreach(recorded, i, line)
	{
		json_t *d = json_object_get(line, "data");
		json_array_foreach(json_object_get(d, "data"), k, op) model_row(o, str(d, "bucket"), op);
	}
	const char *key;
	json_t *data;
	bool ok = true;
	json_object_foreach(o->rows, key, data) if (ok && !json_equal(json_object_get(s->model->rows, key), data)) ok =
	        differ(&t->match, "row %s differs or is missing", key);
	model_free(o);
	return ok;
}

static bool do_expect(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	if (!check_status(t, s->http, step) || !read_lines(t, s))
		return false;
	return t->compacted ? same_rows(t, s, t->expected) : compare_lines(&t->match, t->expected, t->got);
}

static bool do_silence(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	json_t *line = NULL;
	if (http_line(s->http, clock_mono_ms() + json_integer_value(json_object_get(step, "ms")), &line) != GOT_IT)
		return true;
	json_array_append_new(t->got, line);
	return differ(&t->match, "a line where none should be");
}

static bool read_to_end(struct http *h)
{
	int64_t deadline = clock_mono_ms() + PATIENCE_MS;
	enum got got = http_read_head(h, deadline);
	while (got == GOT_IT && !h->complete) {
		http_pump(h);
		if (!h->complete)
			got = wire_fill(&h->wire, deadline);
	}
	return got != GOT_TIMEOUT;
}

static bool check_body(struct trace *t, struct http *h, json_t *expected)
{
	if (json_is_string(expected) && !*json_string_value(expected))
		return h->body.n == 0 || differ(&t->match, "the body is not empty");
	json_t *came = json_loadb(h->body.p, h->body.n, 0, NULL);
	json_array_append_new(t->expected, json_incref(expected));
	json_array_append_new(t->got, came ? json_incref(came) : json_stringn(h->body.p ? h->body.p : "", h->body.n));
	bool ok = came && json_equal(came, expected);
	json_decref(came);
	return ok || differ(&t->match, "the body differs");
}

static bool do_end(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	json_t *line = NULL, *body = json_object_get(step, "body");
	if (body)
		return (read_to_end(s->http) || differ(&t->match, "the body does not end")) && check_body(t, s->http, body);
	enum got got;
	while ((got = http_line(s->http, clock_mono_ms() + PATIENCE_MS, &line)) == GOT_IT) {
		bool ok = note_line(t, s, line);
		json_decref(line);
		if (!ok)
			return false;
	}
	bool clean = strncmp(str(step, "ended_by"), "clean", 5) == 0 || is_trace(t, "32"); /* wish: also at shutdown */
	if (got == GOT_TIMEOUT)
		return differ(&t->match, "the stream does not end");
	if (clean != s->http->complete)
		return differ(&t->match, s->http->complete ? "a clean end instead of a cut" : "cut instead of a clean end");
	json_t *last = json_array_get(t->got, json_array_size(t->got) - 1);
	json_t *wanted = json_array_get(t->expected, json_array_size(t->expected) - 1);
	return !wanted || json_equal(wanted, last) || differ(&t->match, "another last line");
}

#endif
