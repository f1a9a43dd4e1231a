/* json_body.c: request bodies of the small routes; the stream's own is parsed by sync/. */
#include "server/json_body.h"

#include "value/value.h"

void response_bad_json(struct response *r)
{
	response_framework(r, 400, "FST_ERR_CTP_INVALID_JSON_BODY",
	                   "Body is not valid JSON but content-type is set to 'application/json'");
}

bool body_json_text(const struct http_request *q, struct slice *text, struct response *r)
{
	struct slice type = http_header(q, SLICE("content-type"));
	*text = (struct slice){0};
	if (!type.p && q->body.n == 0)
		return true;
	const char *semicolon = type.p ? memchr(type.p, ';', type.n) : NULL;
	struct slice essence = semicolon ? slice_make(type.p, (size_t)(semicolon - type.p)) : type;
	while (essence.n && (essence.p[essence.n - 1] == ' ' || essence.p[essence.n - 1] == '\t'))
		essence.n--;
	if (!slice_eq_nocase(essence, SLICE("application/json"))) {
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
