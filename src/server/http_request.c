/* http_request.c: heads are parsed in one piece, from a copy, so that all header slices point into one block. */
#include "server/http_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"

#define KEPT_MEMORY (64 * 1024)

static bool is_token_char(unsigned char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c && strchr("!#$%&'*+-.^_`|~", c);
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool slice_eq_nocase(struct slice a, struct slice b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

struct slice http_trim(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = slice_drop(s, 1);
	while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

void http_request_reset(struct http_request *r)
{
	struct arena arena = r->arena;
	struct buf body = r->body;
	/* What one large request needed is not kept by an idle connection. */
	if (arena.total > KEPT_MEMORY)
		arena_free(&arena);
	else
		arena_reset(&arena);
	buf_clear(&body);
	if (body.cap > KEPT_MEMORY)
		buf_free(&body);
	*r = (struct http_request){.arena = arena, .body = body};
}

void http_request_free(struct http_request *r)
{
	arena_free(&r->arena);
	buf_free(&r->body);
}

/* ---- head ------------------------------------------------------------------------------------------------------------------- */

enum http_result http_find_head(struct slice received, size_t *scanned, size_t *length)
{
	size_t i = *scanned;
	while (i < received.n) {
		const char *lf = memchr(received.p + i, '\n', received.n - i);
		if (!lf) {
			i = received.n;
			break;
		}
		size_t at = (size_t)(lf - received.p);
		/* An empty line: LF before it, with or without CR. A bare LF is refused when the head is parsed. */
		bool empty = at >= 1 && (received.p[at - 1] == '\n' ||
		                         (at >= 2 && received.p[at - 1] == '\r' && received.p[at - 2] == '\n'));
		if (empty) {
			*length = at + 1;
			return *length > HTTP_MAX_HEAD ? REQUEST_HEAD_LARGE : REQUEST_HEAD;
		}
		i = at + 1;
	}
	*scanned = i;
	return received.n > HTTP_MAX_HEAD ? REQUEST_HEAD_LARGE : REQUEST_MORE;
}

/* The next line without its CRLF; false if it does not end in one. */
static bool next_line(struct slice *rest, struct slice *line)
{
	const char *lf = memchr(rest->p, '\n', rest->n);
	if (!lf || lf == rest->p || lf[-1] != '\r')
		return false;
	*line = slice_make(rest->p, (size_t)(lf - rest->p) - 1);
	*rest = slice_drop(*rest, line->n + 2);
	return true;
}

static bool parse_request_line(struct http_request *r, struct slice line)
{
	const char *space = memchr(line.p, ' ', line.n);
	if (!space || space == line.p)
		return false;
	r->method = slice_make(line.p, (size_t)(space - line.p));
	struct slice rest = slice_drop(line, r->method.n + 1);
	struct slice v11 = SLICE(" HTTP/1.1"), v10 = SLICE(" HTTP/1.0");
	if (!slice_ends(rest, v11) && !slice_ends(rest, v10))
		return false;
	r->target = slice_make(rest.p, rest.n - v11.n);
	if (r->target.n == 0)
		return false;
	for (size_t i = 0; i < r->target.n; i++)
		if ((unsigned char)r->target.p[i] <= ' ' || r->target.p[i] == 0x7f)
			return false;
	/* The absolute form names a host, then the path. */
	struct slice path = r->target, scheme = SLICE("http://");
	if (slice_starts(path, scheme)) {
		path = slice_drop(path, scheme.n);
		const char *slash = memchr(path.p, '/', path.n);
		path = slash ? slice_drop(path, (size_t)(slash - path.p)) : SLICE("/");
	}
	const char *fragment = memchr(path.p, '#', path.n);
	if (fragment)
		path.n = (size_t)(fragment - path.p);
	const char *question = memchr(path.p, '?', path.n);
	r->path = question ? slice_make(path.p, (size_t)(question - path.p)) : path;
	r->query = question ? slice_drop(path, r->path.n + 1) : (struct slice){0};
	return true;
}

static bool parse_header_line(struct http_header *h, struct slice line)
{
	const char *colon = memchr(line.p, ':', line.n);
	if (!colon || colon == line.p)
		return false; /* also a folded line without a colon */
	h->name = slice_make(line.p, (size_t)(colon - line.p));
	for (size_t i = 0; i < h->name.n; i++)
		if (!is_token_char((unsigned char)h->name.p[i]))
			return false; /* a blank before the colon, or in front: folded */
	h->value = http_trim(slice_drop(line, h->name.n + 1));
	for (size_t i = 0; i < h->value.n; i++) {
		unsigned char c = (unsigned char)h->value.p[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static enum http_result parse_lines(struct http_request *r, struct slice head)
{
	struct slice rest = head, line;
	/* RFC 9112 2.2: an empty line before the request line is ignored. */
	while (rest.n >= 2 && rest.p[0] == '\r' && rest.p[1] == '\n')
		rest = slice_drop(rest, 2);
	if (rest.n == 0 || !next_line(&rest, &line) || !parse_request_line(r, line))
		return REQUEST_BAD;
	r->headers = arena_array(&r->arena, struct http_header, HTTP_MAX_HEADERS);
	for (;;) {
		if (!next_line(&rest, &line))
			return REQUEST_BAD;
		if (line.n == 0)
			return rest.n == 0 ? REQUEST_HEAD : REQUEST_BAD;
		if (r->header_count == HTTP_MAX_HEADERS)
			return REQUEST_HEAD_LARGE;
		if (!parse_header_line(&r->headers[r->header_count++], line))
			return REQUEST_BAD;
	}
}

static int on_headers_complete(http_parser *p)
{
	struct http_request *r = p->data;
	r->keep_alive = http_should_keep_alive(p);
	r->chunked = p->flags & F_CHUNKED;
	r->body_left = p->flags & F_CONTENTLENGTH ? p->content_length : 0;
	r->upgrade = p->upgrade && p->method != HTTP_CONNECT;
	return 0;
}

static int on_body(http_parser *p, const char *at, size_t n)
{
	struct http_request *r = p->data;
	if (!r->discard_body)
		buf_append(&r->body, at, n);
	r->max_body -= n < r->max_body ? n : r->max_body;
	return 0;
}

/* The bytes behind belong to the next request: the parser must not see them. */
static int on_message_complete(http_parser *p)
{
	struct http_request *r = p->data;
	r->complete = true;
	http_parser_pause(p, 1);
	return 0;
}

static const http_parser_settings settings = {
        .on_headers_complete = on_headers_complete,
        .on_body = on_body,
        .on_message_complete = on_message_complete,
};

static enum http_result check_headers(struct http_request *r)
{
	size_t hosts = 0;
	for (size_t i = 0; i < r->header_count; i++) {
		const struct http_header *h = &r->headers[i];
		if (slice_eq_nocase(h->name, SLICE("host")))
			hosts++;
		if (slice_eq_nocase(h->name, SLICE("expect"))) {
			if (!slice_eq_nocase(h->value, SLICE("100-continue")))
				return REQUEST_EXPECTATION;
			r->expect_continue = !r->minor_0;
		}
	}
	if (hosts == 0 && !r->minor_0)
		return REQUEST_NO_HOST;
	return hosts > 1 ? REQUEST_BAD : REQUEST_HEAD;
}

enum http_result http_parse_head(struct http_request *r, struct slice head)
{
	struct slice copy = arena_copy(&r->arena, head);
	enum http_result result = parse_lines(r, copy);
	if (result != REQUEST_HEAD)
		return result;
	http_parser_init(&r->parser, HTTP_REQUEST);
	r->parser.data = r;
	size_t n = http_parser_execute(&r->parser, &settings, copy.p, copy.n);
	enum http_errno fault = HTTP_PARSER_ERRNO(&r->parser);
	if ((fault != HPE_OK && fault != HPE_PAUSED) || n != copy.n)
		return REQUEST_BAD;
	r->minor_0 = r->parser.http_minor == 0;
	r->head_method = r->parser.method == HTTP_HEAD;
	if ((result = check_headers(r)) != REQUEST_HEAD)
		return result;
	if (r->minor_0 && r->chunked)
		return REQUEST_BAD;
	if (!r->chunked && r->body_left == 0)
		r->complete = true;
	if (r->complete)
		return REQUEST_COMPLETE;
	return REQUEST_HEAD;
}

/* ---- body ------------------------------------------------------------------------------------------------------------------- */

enum http_result http_feed_body(struct http_request *r, struct slice bytes, size_t *used)
{
	if (!r->chunked) {
		*used = bytes.n < r->body_left ? bytes.n : (size_t)r->body_left;
		r->body_left -= *used;
		if (!r->discard_body)
			buf_append(&r->body, bytes.p, *used);
		r->complete = r->body_left == 0;
		return r->complete ? REQUEST_COMPLETE : REQUEST_MORE;
	}
	/* One byte more than allowed tells a body that is too large. A piece is at most a read long, so the buffer stays bounded. */
	*used = http_parser_execute(&r->parser, &settings, bytes.p, bytes.n);
	enum http_errno fault = HTTP_PARSER_ERRNO(&r->parser);
	if (fault != HPE_OK && fault != HPE_PAUSED)
		return REQUEST_BAD;
	if (r->max_body == 0)
		return REQUEST_BODY_LARGE;
	return r->complete ? REQUEST_COMPLETE : REQUEST_MORE;
}

/* ---- asking ----------------------------------------------------------------------------------------------------------------- */

struct slice http_header(const struct http_request *r, struct slice name)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (slice_eq_nocase(r->headers[i].name, name))
			return r->headers[i].value;
	return (struct slice){0};
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False: a broken escape. Blanks may be written '+' in a query. */
static bool percent_decode(struct slice s, bool plus, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '%') {
			int high = i + 2 < s.n ? hex(s.p[i + 1]) : -1, low = high < 0 ? -1 : hex(s.p[i + 2]);
			if (low < 0)
				return false;
			c = (char)(high * 16 + low);
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		buf_putc(out, c);
	}
	return true;
}

bool http_path_ok(struct slice path)
{
	if (!memchr(path.p, '%', path.n))
		return true;
	struct buf b = {0};
	bool ok = percent_decode(path, false, &b) && utf8_valid(buf_slice(&b));
	buf_free(&b);
	return ok;
}

/* The next member of the query: its name, and the text behind '=' if there is one. False: no more. */
static bool next_query_member(struct slice *rest, struct slice *name, struct slice *text)
{
	if (!rest->n)
		return false;
	const char *end = memchr(rest->p, '&', rest->n);
	struct slice member = end ? slice_make(rest->p, (size_t)(end - rest->p)) : *rest;
	*rest = slice_drop(*rest, member.n + 1);
	const char *equals = memchr(member.p, '=', member.n);
	*name = equals ? slice_make(member.p, (size_t)(equals - member.p)) : member;
	*text = equals ? slice_drop(member, name->n + 1) : SLICE("");
	return true;
}

bool http_query_next(struct http_request *r, struct slice *rest, struct slice *name, struct slice *value)
{
	struct slice raw_name, raw_value;
	struct buf text = {0};
	bool found = false;
	while (!found && next_query_member(rest, &raw_name, &raw_value)) {
		buf_clear(&text);
		found = percent_decode(raw_name, true, &text);
		*name = arena_copy(&r->arena, text.n ? buf_slice(&text) : SLICE(""));
		buf_clear(&text);
		found = found && percent_decode(raw_value, true, &text);
		*value = arena_copy(&r->arena, text.n ? buf_slice(&text) : SLICE(""));
		found = found && utf8_valid(*name) && utf8_valid(*value);
	}
	buf_free(&text);
	return found;
}

bool http_query(struct http_request *r, struct slice name, struct slice *value, bool *bad)
{
	bool found = false;
	struct slice rest = r->query, raw_name, raw_value;
	struct buf key = {0}, text = {0};
	*bad = false;
	while (next_query_member(&rest, &raw_name, &raw_value)) {
		buf_clear(&key);
		if (!percent_decode(raw_name, true, &key) || !slice_eq(buf_slice(&key), name))
			continue;
		found = true;
		buf_clear(&text);
		*bad = !percent_decode(raw_value, true, &text) || !utf8_valid(buf_slice(&text));
	}
	if (found)
		*value = arena_copy(&r->arena, text.n ? buf_slice(&text) : SLICE(""));
	buf_free(&key);
	buf_free(&text);
	return found;
}
