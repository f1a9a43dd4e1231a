/*
 * sync-protocol-vectors.c: replays the golden traces of the sync protocol (README in the folder) against the service as a process.
 *
 *   PG_URI=postgres://... sync-protocol-vectors FOLDER [NAME ...]
 *
 * Each trace gets a source database and a service of its own; the service is the binary beside the folder of this program, or SYNCLINE.
 * What Syncline does on purpose in another way than the recorded service is in the tables of "wishes".
 */
#define _GNU_SOURCE /* memmem */
#include <dirent.h>
#include <limits.h>

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

struct tally {
	int passed, failed, skipped;
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

/* ---- calls ------------------------------------------------------------------------------------------------------------------------------ */

/* Wishes: where the specification wants another answer than the recorded one. Owned by the caller. */
static json_t *wanted_response(struct trace *t, json_t *step)
{
	const char *label = str(step, "label");
	if (is_trace(t, "23") && strcmp(label, "parameters null") == 0)
		return json_pack("{s:i,s:{s:s}}", "status", 200, "headers", "content-type", "application/x-ndjson");
	if (is_trace(t, "23") && (strcmp(label, "after not a number") == 0 || strcmp(label, "after is 1.5") == 0))
		return json_pack("{s:i,s:s}", "status", 400, "body_has", "\"details\":\"[\\\"/buckets/0/after");
	if (is_trace(t, "23") && strcmp(label, "content type text/plain") == 0)
		return json_pack("{s:i,s:s}", "status", 415, "body_has", "FST_ERR_CTP_INVALID_MEDIA_TYPE");
	return json_incref(json_object_get(step, "response"));
}

static bool do_call(struct trace *t, json_t *step)
{
	json_t *wanted = wanted_response(t, step), *body = json_object_get(wanted, "body");
	const char *has = text_of(wanted, "body_has");
	struct http *h = send_request(t, step, NULL, NULL);
	bool ok = check_status(t, h, wanted);
	if (ok && body)
		ok = (read_to_end(h) || differ(&t->match, "the body does not end")) && check_body(t, h, body);
	if (ok && has)
		ok = (read_to_end(h) && memmem(h->body.p, h->body.n, has, strlen(has))) ||
		     differ(&t->match, "the body has no %s", has);
	if (!ok && *str(step, "label"))
		snprintf(t->match.why + strlen(t->match.why), sizeof(t->match.why) - strlen(t->match.why), " (%s)",
		         str(step, "label"));
	http_close(h);
	json_decref(wanted);
	return ok;
}

/* ---- WebSocket --------------------------------------------------------------------------------------------------------------------------- */

static void append_hex(struct buf *out, const char *hex)
{
	for (; isxdigit((unsigned char)hex[0]) && isxdigit((unsigned char)hex[1]); hex += 2) {
		char two[3] = {hex[0], hex[1], '\0'};
		buf_putc(out, (char)strtoul(two, NULL, 16));
	}
}

static void append_setup_metadata(struct buf *out, const char *label)
{
	const char *in = strstr(label, "expires in ");
	long seconds = strstr(label, "expired") ? -100 : in ? strtol(in + 11, NULL, 10) : 3600;
	char *token = make_token("user1", seconds, "powersync-dev");
	struct buf text = {0};
	buf_printf(&text, "{\"token\":\"Token %s\",\"user_agent\":\"test-client/1.0\"}", token);
	free(token);
	buf_putc(out, (char)(text.n >> 16));
	buf_putc(out, (char)(text.n >> 8));
	buf_putc(out, (char)text.n);
	buf_append(out, text.p, text.n);
	buf_free(&text);
}

static bool do_ws_send(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "ws"));
	const char *hex = str(step, "hex");
	struct buf frame = {0};
	s->last_sent = str(step, "frame");
	if (strncmp(s->last_sent, "REQUEST_STREAM", 14) == 0) { /* another stream on the same socket begins anew */
		model_free(s->model);
		s->model = model_new();
	}
	if (*hex == '(') { /* SETUP with the resume flag, and a resume token */
		append_hex(&frame, "0000000005800001000000004e2000015f9000026162106170706c69636174696f6e2f6a736f6e10");
		append_hex(&frame, "6170706c69636174696f6e2f6a736f6e");
		append_setup_metadata(&frame, "");
	} else {
		append_hex(&frame, hex);
		if (strchr(hex, '<'))
			append_setup_metadata(&frame, s->last_sent);
	}
	ws_send_binary(s->ws, frame.p, frame.n);
	buf_free(&frame);
	return true;
}

/* One frame as the traces write it: the line it carries, or {stream, type, flags, code, message}. */
static json_t *describe_frame(struct slice f, json_t **line)
{
	static const char *const types[] = {[3] = "KEEPALIVE", [10] = "PAYLOAD", [11] = "ERROR"};
	const unsigned char *p = (const unsigned char *)f.p;
	unsigned word = f.n >= 6 ? (unsigned)(p[4] << 8 | p[5]) : 0, type = word >> 10;
	char flags[8], code[16];
	json_t *out = json_object();
	*line = NULL;
	snprintf(flags, sizeof(flags), "0x%x", word & 0x3ff);
	set_number(out, "stream", f.n >= 4 ? p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3] : 0);
	json_object_set_new(out, "type", json_string(type < 12 && types[type] ? types[type] : "?"));
	json_object_set_new(out, "flags", json_string(flags));
	if (type == 11 && f.n >= 10) {
		snprintf(code, sizeof(code), "0x%02x%02x%02x%02x", p[6], p[7], p[8], p[9]);
		json_object_set_new(out, "code", json_string(code));
		json_object_set_new(out, "message", json_stringn(f.p + 10, f.n - 10));
	} else if (type == 10 && (word & 0x20)) {
		struct buf text = {0};
		if (bson_to_json(slice_make(f.p + 6, f.n - 6), &text))
			*line = json_loadb(text.p, text.n, JSON_ALLOW_NUL, NULL);
		buf_free(&text);
		if (!*line)
			*line = json_string("(bad BSON)");
	} else if (type == 3 && f.n >= 14) {
		json_object_set_new(out, "data", json_stringn(f.p + 14, f.n - 14));
	}
	return out;
}

/* Wishes for frames, by what was sent before. */
struct frame_wish {
	const char *sent;
	int stream;
	const char *code, *message; /* code NULL: lines come, and the stream is cancelled */
};

static const struct frame_wish frame_wishes[] = {
        {"SETUP with the resume flag", 0, "0x00000003", "No resume support"},
        {"REQUEST_STREAM id 5, parameters null", 5, NULL, NULL},
        {"REQUEST_STREAM id 7, after is not a number", 7, "0x00000201", "[PSYNC_S2001] Validation failed\n  [\"/buckets/0/after"},
};

static const struct frame_wish *find_wish(struct trace *t, const struct trace_stream *s)
{
	for (size_t i = 0; is_trace(t, "27") && i < sizeof(frame_wishes) / sizeof(*frame_wishes); i++)
		if (strcmp(frame_wishes[i].sent, s->last_sent ? s->last_sent : "") == 0)
			return &frame_wishes[i];
	return NULL;
}

static bool frame_agrees(json_t *e, json_t *a, bool prefix)
{
	const char *x = text_of(e, "message"), *y = text_of(a, "message");
	if (get_number(e, "stream") != get_number(a, "stream") || strcmp(str(e, "type"), str(a, "type")) != 0 ||
	    strcmp(str(e, "flags"), str(a, "flags")) != 0 || strcmp(str(e, "code"), str(a, "code")) != 0)
		return false;
	return x ? y && (prefix ? strncmp(x, y, strlen(x)) : strcmp(x, y)) == 0 : true;
}

/* Frames that carry no line, in order. */
static json_t *other_frames(json_t *step)
{
	json_t *out = json_array(), *f;
	size_t i;
	json_array_foreach(json_object_get(step, "frames"), i,
	                   f) if (strcmp(str(f, "type"), "PAYLOAD") != 0 || strcmp(str(f, "flags"), "0x40") == 0)
	        json_array_append(out, f);
	return out;
}

static bool read_frames(struct trace *t, struct trace_stream *s, size_t others, int64_t patience, json_t *came)
{
	bool lines = json_array_size(t->expected) != 0;
	while ((lines && !seen_enough(t->expected, t->got)) || json_array_size(came) < others) {
		struct slice frame;
		json_t *line;
		enum got got = ws_frame(s->ws, clock_mono_ms() + patience, &frame);
		if (got != GOT_IT)
			return patience < PATIENCE_MS ||
			       differ(&t->match, got == GOT_END ? "the socket was closed" : "no further frame came");
		json_t *f = describe_frame(frame, &line);
		bool ok = true;
		if (line)
			ok = note_line(t, s, line);
		else
			json_array_append(came, f);
		json_decref(f);
		json_decref(line);
		if (!ok)
			return false;
	}
	return true;
}

static bool check_frames(struct trace *t, json_t *e, json_t *a, bool prefix)
{
	for (size_t i = 0; i < json_array_size(e) || i < json_array_size(a); i++)
		if (!frame_agrees(json_array_get(e, i), json_array_get(a, i), prefix)) {
			char *x = json_dumps(json_array_get(e, i), JSON_COMPACT | JSON_ENCODE_ANY);
			char *y = json_dumps(json_array_get(a, i), JSON_COMPACT | JSON_ENCODE_ANY);
			differ(&t->match, "frame %s instead of %s", y ? y : "(none)", x ? x : "(none)");
			free(x);
			free(y);
			return false;
		}
	return true;
}

static bool do_wish(struct trace *t, struct trace_stream *s, const struct frame_wish *w)
{
	json_t *came = json_array(), *e = json_array();
	bool ok;
	if (w->code) {
		json_array_append_new(e, json_pack("{s:i,s:s,s:s,s:s,s:s}", "stream", w->stream, "type", "ERROR", "flags", "0x0",
		                                   "code", w->code, "message", w->message));
		ok = read_frames(t, s, 1, PATIENCE_MS, came) && check_frames(t, e, came, true);
	} else {
		static const unsigned char cancel[] = {0, 0, 0, 5, 0x24, 0};
		json_array_append_new(t->expected, json_pack("{s:{}}", "checkpoint_complete"));
		ok = read_frames(t, s, 0, PATIENCE_MS, came);
		ws_send_binary(s->ws, cancel, sizeof(cancel));
	}
	json_decref(came);
	json_decref(e);
	return ok;
}

static bool do_ws_expect(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "ws"));
	const struct frame_wish *wish = find_wish(t, s);
	if (wish)
		return do_wish(t, s, wish);
	json_t *e = other_frames(step), *came = json_array();
	bool nothing = json_array_size(e) == 0 && json_array_size(t->expected) == 0;
	bool ok = read_frames(t, s, nothing ? 1 : json_array_size(e), nothing ? 500 : PATIENCE_MS, came);
	if (ok && json_array_size(t->expected))
		ok = t->compacted ? same_rows(t, s, t->expected) : compare_lines(&t->match, t->expected, t->got);
	ok = ok && check_frames(t, e, came, false);
	if (ok && nothing && json_array_size(t->got))
		ok = differ(&t->match, "a line where none should be");
	json_decref(e);
	json_decref(came);
	return ok;
}

static bool do_ws_close(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "ws"));
	struct slice frame;
	int64_t deadline = clock_mono_ms() + PATIENCE_MS;
	int wanted = (int)json_integer_value(json_object_get(step, "close_code_seen_by_client"));
	while (ws_frame(s->ws, deadline, &frame) == GOT_IT)
		;
	return (s->ws->closed && s->ws->close_code == wanted) ||
	       differ(&t->match, "close code %d instead of %d", s->ws->close_code, wanted);
}

/* ---- the config switch (35) ---------------------------------------------------------------------------------------------------------------- */

/* False without a message: there is no such route. */
static bool do_deploy(struct trace *t, json_t *step)
{
	int status = http_status(t->world.port, "POST", "/api/sync-rules/v1/deploy",
	                         "Authorization: Bearer " ADMIN_TOKEN "\r\nContent-Type: application/yaml\r\n",
	                         str(step, "sync_config"));
	if (status == 404) {
		t->skip = "there is no deploy over HTTP";
		return false;
	}
	if (status != json_integer_value(json_object_get(step, "status")))
		return differ(&t->match, "status %d of the deploy", status);
	if (t->stream_count == 0)
		return world_ready(&t->world, true) || differ(&t->match, "no checkpoint after the deploy");
	return true; /* the stream tells when it is active */
}

/* README, what may differ 7: the stream may go on, with the bucket's new priority, or end. Then a new stream has the same rows. */
static bool do_switch_end(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	json_t *line = NULL, *bucket;
	enum got got;
	json_int_t priority = -1;
	size_t i;
	while ((got = http_line(s->http, clock_mono_ms() + 20000, &line)) == GOT_IT) {
		bool ok = note_line(t, s, line), complete = is_line(line, "checkpoint_complete");
		json_t *c = json_object_get(line, is_line(line, "checkpoint") ? "checkpoint" : "checkpoint_diff");
		json_array_foreach(json_object_get(c, is_line(line, "checkpoint") ? "buckets" : "updated_buckets"), i, bucket)
		        priority = get_number(bucket, "priority");
		json_decref(line);
		if (!ok)
			return false;
		if (complete && priority == 2)
			return true;
	}
	return (got == GOT_END && s->http->complete) || differ(&t->match, "neither a new checkpoint nor a clean end");
}

static bool do_switch_expect(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	size_t i;
	json_t *bucket;
	if (!check_status(t, s->http, step) || !read_lines(t, s))
		return false;
	json_t *want =
	        json_array_get(json_object_get(json_object_get(json_array_get(t->expected, 0), "checkpoint"), "buckets"), 0);
	json_array_foreach(json_object_get(json_object_get(json_array_get(t->got, 0), "checkpoint"), "buckets"), i,
	                   bucket) if (strcmp(without_number(str(bucket, "bucket")), without_number(str(want, "bucket"))) != 0 ||
	                               get_number(bucket, "priority") != get_number(want, "priority") ||
	                               get_number(bucket, "checksum") !=
	                                       get_number(want, "checksum")) return differ(&t->match,
	                                                                                   "another bucket after the switch");
	return i == 1 || differ(&t->match, "another number of buckets after the switch");
}

/* ---- steps ----------------------------------------------------------------------------------------------------------------------------------- */

/* By the running service; checkpoints that were just handed out are not spared. */
static bool run_compaction(struct trace *t)
{
	char command[1024];
	snprintf(command, sizeof(command), "'%s' compact --margin 0 -c '%s/powersync.yaml' >'%s/compact.log' 2>&1",
	         t->world.binary, t->world.folder, t->world.folder);
	return system(command) == 0 || differ(&t->match, "the compaction failed, see compact.log");
}

static bool do_note(struct trace *t, json_t *step)
{
	const char *text = str(step, "text");
	if (strncmp(text, "SIGTERM", 7) == 0)
		return kill(t->world.pid, SIGTERM) == 0;
	if (strncmp(text, "compact", 7) != 0)
		return differ(&t->match, "a note that is not understood: %s", text);
	t->compacted = true;
	return run_compaction(t);
}

static bool do_open(struct trace *t, json_t *step)
{
	struct trace_stream *old = stream_find(t, str(step, "stream"));
	if (old)
		stream_close(old);
	struct trace_stream *s = stream_add(t, str(step, "stream"));
	s->http = send_request(t, step, s->name, s->model);
	return true;
}

static bool do_ws_open(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_add(t, str(step, "ws"));
	s->ws = calloc(1, sizeof(*s->ws));
	return ws_open(s->ws, t->world.port, str(step, "path")) || differ(&t->match, "the upgrade failed");
}

static unsigned long long served_op(struct trace *t)
{
	struct survey s = {.buckets = json_object()};
	first_sync(&t->world, "{}", survey_line, &s);
	json_decref(s.buckets);
	return s.last_op;
}

/* If no stream shows that the change has arrived, a look at what is served does. */
static bool do_sql(struct trace *t, json_t *step)
{
	const char *next = str(json_array_get(t->steps, t->at + 1), "do");
	bool wait = !strstr(next, "expect");
	unsigned long long before = wait ? served_op(t) : 0;
	bool ok = run_sql(t->world.db, str(step, "sql"), t->match.why, sizeof(t->match.why));
	for (int i = 0; ok && wait && i < 100 && served_op(t) == before; i++)
		pause_ms(20);
	return ok;
}

static bool do_close(struct trace *t, json_t *step)
{
	stream_close(stream_find(t, str(step, "stream")));
	pause_ms(200); /* until the service has noticed */
	return true;
}

static bool do_step(struct trace *t, json_t *step)
{
	static const struct {
		const char *name;
		bool (*run)(struct trace *t, json_t *step);
	} steps[] = {
	        {"open", do_open},
	        {"expect", do_expect},
	        {"expect_silence", do_silence},
	        {"expect_end", do_end},
	        {"close", do_close},
	        {"call", do_call},
	        {"sql", do_sql},
	        {"deploy", do_deploy},
	        {"note", do_note},
	        {"ws_open", do_ws_open},
	        {"ws_send", do_ws_send},
	        {"ws_expect", do_ws_expect},
	        {"ws_expect_close", do_ws_close},
	};
	const char *name = str(step, "do");
	if (is_trace(t, "35") && strcmp(name, "expect_end") == 0)
		return do_switch_end(t, step);
	if (is_trace(t, "35") && strcmp(name, "expect") == 0 && strcmp(str(step, "stream"), "t") == 0)
		return do_switch_expect(t, step);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (strcmp(steps[i].name, name) == 0)
			return steps[i].run(t, step);
	return differ(&t->match, "a step that is not understood: %s", name);
}

static bool run_steps(struct trace *t)
{
	for (t->at = 0; t->at < json_array_size(t->steps); t->at++) {
		json_t *step = json_array_get(t->steps, t->at), *lines = json_object_get(step, "lines");
		json_decref(t->expected);
		json_decref(t->got);
		t->expected = json_is_array(lines) ? json_copy(lines) : json_array();
		t->got = json_array();
		if (!do_step(t, step))
			return false;
	}
	if (is_trace(t, "32")) { /* wish: the socket is closed as "going away" */
		struct trace_stream *w = stream_find(t, "w");
		struct slice frame;
		while (ws_frame(w->ws, clock_mono_ms() + PATIENCE_MS, &frame) == GOT_IT)
			;
		return w->ws->close_code == 1001 || differ(&t->match, "close code %d instead of 1001", w->ws->close_code);
	}
	return true;
}

/* ---- cases ----------------------------------------------------------------------------------------------------------------------------------- */

static void print_lines(const char *title, json_t *lines)
{
	size_t i;
	json_t *line;
	printf("  %s:\n", title);
	json_array_foreach(lines, i, line)
	{
		char *text = json_dumps(line, JSON_COMPACT | JSON_ENCODE_ANY);
		printf("    %.1500s%s\n", text, strlen(text) > 1500 ? "..." : "");
		free(text);
	}
}

static bool world_begin(struct world *w, json_t *config, char *why, size_t size)
{
	const char *sync_config = text_of(config, "sync_config");
	bool configured = sync_config && *sync_config != '(';
	if (!world_source(w, text_of(config, "setup_sql"), why, size))
		return false;
	if (world_start(w, configured ? sync_config : NULL, text_of(config, "service_config")) && world_ready(w, configured))
		return true;
	snprintf(why, size, "the service does not get ready; its log ends as above");
	world_print_log(w);
	return false;
}

static void run_trace(const char *folder, const char *file, const struct world *base, struct tally *tally)
{
	json_t *document = load_file(folder, file), *config = load_file(folder, str(document, "config"));
	struct trace t = {.world = *base, .steps = json_object_get(document, "steps")};
	snprintf(t.name, sizeof(t.name), "%s", str(document, "name"));
	t.match = (struct match){.bound = json_object(), .owner = json_object(), .history = json_object()};
	bool ready = world_begin(&t.world, config, t.match.why, sizeof(t.match.why));
	bool ok = ready && run_steps(&t);
	tally->passed += ok;
	tally->skipped += !ok && t.skip;
	tally->failed += !ok && !t.skip;
	if (t.skip) {
		printf("SKIP %s: %s\n", t.name, t.skip);
	} else if (!ok) {
		printf("FAIL %s, step %zu: %s\n", t.name, t.at, t.match.why);
		print_lines("expected", t.expected);
		print_lines("got", t.got);
	}
	for (size_t i = 0; i < t.stream_count; i++)
		if (t.streams[i].model)
			stream_close(&t.streams[i]);
	world_stop(&t.world);
	world_drop_source(&t.world);
	json_decref(t.match.bound);
	json_decref(t.match.owner);
	json_decref(t.match.history);
	json_decref(t.expected);
	json_decref(t.got);
	json_decref(document);
	json_decref(config);
}

static bool negotiate(struct world *w, const char *header, const char *value, const char *answer, const char *expected,
                      char *came, size_t size)
{
	char *token = make_token("user1", 3600, "powersync-dev");
	struct buf b = {0};
	buf_printf(&b, "Authorization: Token %s\r\nContent-Type: application/json\r\n", token);
	if (value)
		buf_printf(&b, "%s: %s\r\n", header, value);
	buf_putc(&b, '\0');
	struct http *h = http_send(w->port, "POST", "/sync/stream", b.p, "{}");
	http_read_head(h, clock_mono_ms() + PATIENCE_MS);
	const char *v = http_header(h, answer, came, size);
	bool ok = h->status == 200 && (expected ? v && strcmp(v, expected) == 0 : !v);
	if (!v)
		snprintf(came, size, "none");
	http_close(h);
	free(token);
	buf_free(&b);
	return ok;
}

static void run_negotiation(const char *folder, const struct world *base, struct tally *tally)
{
	static const struct {
		const char *key, *header, *answer;
	} parts[] = {{"accept", "Accept", "content-type"}, {"accept_encoding", "Accept-Encoding", "content-encoding"}};
	json_t *document = load_file(folder, "negotiation.json"), *config = load_file(folder, "g2-empty.config.json"), *pair;
	struct world w = *base;
	char why[1024] = "", came[256];
	size_t i;
	bool ready = world_begin(&w, config, why, sizeof(why));
	if (!ready)
		printf("FAIL negotiation: %s\n", why);
	for (size_t k = 0; k < 2; k++)
		json_array_foreach(json_object_get(document, parts[k].key), i, pair)
		{
			const char *value = json_string_value(json_array_get(pair, 0)),
			           *expected = json_string_value(json_array_get(pair, 1));
			bool ok = ready && negotiate(&w, parts[k].header, value, parts[k].answer, expected, came, sizeof(came));
			tally->passed += ok;
			tally->failed += !ok;
			if (ready && !ok)
				printf("FAIL %s: %s\n  expected %s\n  got      %s\n", parts[k].header, value ? value : "(absent)",
				       expected ? expected : "none", came);
		}
	world_stop(&w);
	world_drop_source(&w);
	json_decref(document);
	json_decref(config);
}

static void check_sum(struct tally *tally, const char *what, size_t i, json_int_t expected, json_int_t got)
{
	tally->passed += expected == got;
	tally->failed += expected != got;
	if (expected != got)
		printf("FAIL checksum of %s %zu\n  expected %lld\n  got      %lld\n", what, i, (long long)expected,
		       (long long)got);
}

static void run_checksums(const char *folder, struct tally *tally)
{
	json_t *document = load_file(folder, "checksums.json"), *e, *op;
	size_t i, k;
	json_array_foreach(json_object_get(document, "put"), i, e)
	        check_sum(tally, "put", i, get_number(e, "checksum"), short_digest("", str(e, "hash_input")));
	json_t *r = json_object_get(document, "remove");
	json_array_foreach(r, i, e)
	        check_sum(tally, "remove", i, get_number(e, "checksum"), short_digest("delete.", str(e, "subkey")));
	json_array_foreach(json_object_get(document, "bucket_sums"), i, e)
	{
		uint32_t sum = 0;
		json_array_foreach(json_object_get(e, "ops"), k, op) sum +=
		        (uint32_t)(json_is_number(op) ? (json_int_t)json_number_value(op) : get_number(op, "checksum"));
		check_sum(tally, "sum", i, get_number(e, "wire_signed"), (int32_t)sum);
	}
	json_decref(document);
}

/* The recorded BSON documents of trace 13 through the decoder. */
static void run_decoder(const char *folder, struct tally *tally)
{
	json_t *document = load_file(folder, "13-bson-stream.json"), *hex;
	size_t i;
	json_array_foreach(json_object_get(document, "bson_hex"), i, hex)
	{
		struct buf bytes = {0}, text = {0};
		append_hex(&bytes, json_string_value(hex));
		bool whole = !strchr(json_string_value(hex), '.');
		bool ok = !whole || bson_to_json(slice_make(bytes.p, bytes.n), &text);
		tally->passed += ok;
		tally->failed += !ok;
		if (!ok)
			printf("FAIL decoder, document %zu\n", i);
		buf_free(&bytes);
		buf_free(&text);
	}
	json_decref(document);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_numbered(const struct dirent *d)
{
	return isdigit((unsigned char)d->d_name[0]) && isdigit((unsigned char)d->d_name[1]) && strstr(d->d_name, ".json");
}

static bool is_chosen(const char *name, int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (strncmp(name, argv[i], strlen(argv[i])) == 0)
			return true;
	return argc == 2;
}

static const char *find_binary(const char *program, char *out, size_t size)
{
	const char *given = getenv("SYNCLINE"), *slash = strrchr(program, '/');
	if (given && *given)
		return given;
	snprintf(out, size, "%.*s/../syncline", slash ? (int)(slash - program) : 1, slash ? program : ".");
	return out;
}

int main(int argc, char **argv)
{
	char binary[PATH_MAX];
	struct dirent **files;
	struct tally tally = {0};
	struct world base = {.server_uri = getenv("PG_URI")};
	if (argc < 2) {
		fprintf(stderr, "usage: sync-protocol-vectors FOLDER [NAME ...]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	base.binary = find_binary(argv[0], binary, sizeof(binary));
	bool can_run = base.server_uri && *base.server_uri;
	if (!can_run)
		printf("SKIP traces: PG_URI is not set (a Postgres server with wal_level=logical)\n");
	int count = scandir(argv[1], &files, is_numbered, by_name);
	for (int i = 0; i < count; i++) {
		bool input_only =
		        strncmp(files[i]->d_name, "33", 2) == 0; /* what a client sends; there are no lines to compare */
		if (!input_only && is_chosen(files[i]->d_name, argc, argv)) {
			if (can_run)
				run_trace(argv[1], files[i]->d_name, &base, &tally);
			else
				tally.skipped++;
		}
		free(files[i]);
	}
	if (count >= 0)
		free(files);
	if (is_chosen("negotiation", argc, argv)) {
		if (can_run)
			run_negotiation(argv[1], &base, &tally);
		else
			tally.skipped++;
	}
	if (is_chosen("checksums", argc, argv)) {
		run_checksums(argv[1], &tally);
		run_decoder(argv[1], &tally);
	}
	printf("%d passed, %d failed, %d skipped\n", tally.passed, tally.failed, tally.skipped);
	return tally.failed != 0;
}
