/* json_body.c: request bodies of the small routes; the stream's own is parsed by sync/. */
#include "server/json_body.h"

#include "base/utf8.h"
#include "value/value.h"

void response_bad_json(struct response *r)
{
	response_framework(r, 400, "FST_ERR_CTP_INVALID_JSON_BODY",
	                   "Body is not valid JSON but content-type is set to 'application/json'");
}

bool body_has_type(const struct http_request *q, struct slice type)
{
	struct slice given = http_header(q, SLICE("content-type"));
	const char *semicolon = given.p ? memchr(given.p, ';', given.n) : NULL;
	if (semicolon)
		given.n = (size_t)(semicolon - given.p);
	while (given.n && (given.p[given.n - 1] == ' ' || given.p[given.n - 1] == '\t'))
		given.n--;
	return slice_eq_nocase(given, type);
}

bool body_json_text(const struct http_request *q, struct slice *text, struct response *r)
{
	*text = (struct slice){0};
	if (!http_header(q, SLICE("content-type")).p && q->body.n == 0)
		return true;
	if (!body_has_type(q, SLICE("application/json"))) {
		response_framework(r, 415, "FST_ERR_CTP_INVALID_MEDIA_TYPE", "Unsupported Media Type");
		return false;
	}
	if (q->body.n == 0) {
		response_framework(r, 400, "FST_ERR_CTP_EMPTY_JSON_BODY",
		                   "Body cannot be empty when content-type is set to 'application/json'");
		return false;
	}
	*text = buf_slice(&q->body);
	return true;
}

json_t *body_json_object(const struct http_request *q, struct response *r)
{
	struct slice text;
	if (!body_json_text(q, &text, r))
		return NULL;
	if (!text.p)
		return json_object();
	json_error_t fault;
	json_t *value = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &fault);
	if (!value) {
		response_bad_json(r);
		return NULL;
	}
	if (!json_is_object(value)) {
		json_decref(value);
		value = json_object();
	}
	return value;
}

void complain(struct complaints *c, const char *text)
{
	buf_putc(&c->text, c->text.n ? ',' : '[');
	json_append_string(&c->text, slice_cstr(text));
}

bool complaints_answer(struct complaints *c, struct response *r)
{
	bool any = c->text.n > 0;
	if (any) {
		buf_putc(&c->text, ']');
		response_validation(r, buf_slice(&c->text));
	}
	buf_free(&c->text);
	return any;
}

json_t *json_text(struct slice s)
{
	json_t *value = json_stringn(s.p ? s.p : "", s.n);
	if (value || !s.p)
		return value;
	struct arena arena = {0};
	struct slice mended = utf8_mend(s, &arena);
	value = json_stringn(mended.p, mended.n);
	arena_free(&arena);
	return value;
}
