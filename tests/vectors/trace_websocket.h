/* trace_websocket.h: frames that a trace sends and expects. */
#ifndef SYNCLINE_TESTS_TRACE_WEBSOCKET_H
#define SYNCLINE_TESTS_TRACE_WEBSOCKET_H

#include "trace_lines.h"

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

#endif
