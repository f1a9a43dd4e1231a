/* request_log.c: see request_log.h. */
#include <jansson.h>

#include "server/request_log.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "server/exchange.h"
#include "server/routes.h"
#include "server/state.h"
#include "sync/session.h"

#define MAX_PARAMETERS 20
#define MAX_PARAMETER_TEXT 100

void request_id_new(char id[REQUEST_ID_SIZE], char kind)
{
	uint64_t now = (uint64_t)clock_wall_ms(), r[2] = {0};
	if (getrandom(r, sizeof(r), 0) != (ssize_t)sizeof(r))
		r[0] = (uint64_t)clock_mono_us(); /* still tells requests apart well enough */
	snprintf(id, REQUEST_ID_SIZE, "%c/%08llx-%04llx-7%03llx-%04llx-%012llx", kind,
	         (unsigned long long)(now >> 16 & 0xffffffff), (unsigned long long)(now & 0xffff),
	         (unsigned long long)(r[0] & 0xfff), (unsigned long long)(0x8000 | (r[0] >> 16 & 0x3fff)),
	         (unsigned long long)(r[1] & 0xffffffffffff));
}

static bool contains(struct slice s, const char *word)
{
	struct slice w = slice_cstr(word);
	for (; s.n >= w.n; s = slice_drop(s, 1))
		if (slice_eq_nocase(slice_make(s.p, w.n), w))
			return true;
	return false;
}

/* Nothing of the API takes a secret in its URL, but clients of other services put them there. */
static bool looks_secret(struct slice name)
{
	static const char *const words[] = {"token", "secret", "passw", "auth", "jwt", "key", "credential"};
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (contains(name, words[i]))
			return true;
	return false;
}

static struct slice shown_path(const struct http_request *q, struct buf *out)
{
	buf_slice_append(out, q->path);
	for (struct slice rest = q->query; rest.n;) {
		const char *end = memchr(rest.p, '&', rest.n);
		struct slice member = slice_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
		const char *equals = memchr(member.p, '=', member.n);
		struct slice name = slice_make(member.p, equals ? (size_t)(equals - member.p) : member.n);
		buf_putc(out, rest.p == q->query.p ? '?' : '&');
		if (equals && looks_secret(name))
			buf_printf(out, "%.*s=***", SLICE_ARG(name));
		else
			buf_slice_append(out, member);
		rest = slice_drop(rest, member.n + 1);
	}
	return buf_slice(out);
}

void request_log_finished(const struct exchange *x)
{
	const struct log *log = x->server->options.log;
	struct buf fields = {0}, path = {0};
	char duration[32];
	if (!log_on(log, LOG_INFO))
		return;
	int n = snprintf(duration, sizeof(duration), "%.3f", (double)(clock_mono_us() - x->began_us) / 1000.0);
	struct slice shown = shown_path(&x->request, &path);
	log_field_json(&fields, "duration_ms", slice_make(duration, (size_t)n));
	log_field_text(&fields, "method", x->request.method);
	log_field_text(&fields, "path", shown);
	log_field_text(&fields, "rid", slice_cstr(x->id));
	if (x->route)
		log_field_text(&fields, "route", slice_cstr(route_path(x->route)));
	log_field_number(&fields, "status", x->response.status);
	log_fields(log, LOG_INFO, buf_slice(&fields), "%.*s %.*s", SLICE_ARG(x->request.method), SLICE_ARG(shown));
	buf_free(&fields);
	buf_free(&path);
}

static const char *code_of(const struct error *e)
{
	return e->code && *e->code ? e->code : "PSYNC_S2001";
}

/* The error as its body has it, with what only the log may know. */
static struct slice error_data(const struct request_failure *f, struct buf *out)
{
	struct buf members = {0};
	log_field_text(&members, "code", slice_cstr(code_of(f->err)));
	log_field_text(&members, "description", slice_cstr(f->err->message));
	if (f->err->detail[0])
		log_field_text(&members, "details", slice_cstr(f->err->detail));
	log_field_text(&members, "name", slice_cstr(f->name));
	buf_printf(out, "{%.*s}", SLICE_ARG(buf_slice(&members)));
	buf_free(&members);
	return buf_slice(out);
}

void request_log_failed(const struct log *log, const struct request_failure *f)
{
	const struct error *e = f->err;
	struct buf fields = {0}, data = {0};
	if (!log_on(log, LOG_ERROR))
		return;
	log_field_text(&fields, "name", slice_cstr(f->name));
	log_field_text(&fields, "rid", slice_cstr(f->id));
	if (f->route)
		log_field_text(&fields, "route", slice_cstr(f->route));
	log_field_json(&fields, "errorData", error_data(f, &data));
	if (f->refusal && f->refusal->token.n)
		log_field_text(&fields, "tokenDetails", f->refusal->token);
	if (f->refusal && f->refusal->configuration.n)
		log_field_text(&fields, "configurationDetails", f->refusal->configuration);
	log_fields(log, LOG_ERROR, buf_slice(&fields), "Request failed [%s] %s", code_of(e), e->message);
	buf_free(&fields);
	buf_free(&data);
}

/* Values as text, cut where they are long: enough to recognise a client by. */
static json_t *shown_parameter(const json_t *value)
{
	char *dump = json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
	const char *text = dump ? dump : json_string_value(value);
	size_t n = strlen(text);
	bool cut = json_is_string(value) && n > MAX_PARAMETER_TEXT;
	if (cut)
		for (n = MAX_PARAMETER_TEXT; n && ((unsigned char)text[n] & 0xC0) == 0x80; n--)
			;
	json_t *shown = cut ? json_sprintf("%.*s...", (int)n, text) : json_string(text);
	free(dump);
	return shown;
}

static void add_parameters(struct buf *fields, struct slice parameters)
{
	json_t *all = json_loadb(parameters.p, parameters.n, JSON_ALLOW_NUL, NULL), *shown = json_object(), *value;
	const char *name;
	json_object_foreach(all, name, value)
	{
		if (json_object_size(shown) == MAX_PARAMETERS) {
			json_object_set_new(shown, "...", json_integer((json_int_t)(json_object_size(all) - MAX_PARAMETERS)));
			break;
		}
		json_object_set_new(shown, name, shown_parameter(value));
	}
	char *text = json_dumps(shown, JSON_COMPACT);
	log_field_json(fields, "client_params", slice_cstr(text));
	free(text);
	json_decref(shown);
	json_decref(all);
}

void request_log_stream_fields(struct buf *fields, const struct verified_token *t, const struct sync_request *request,
                               struct slice agent, bool bson, const char *id)
{
	log_field_text(fields, "user_id", t->user_id);
	if (request->client_id.p)
		log_field_text(fields, "client_id", request->client_id);
	if (agent.p)
		log_field_text(fields, "user_agent", agent);
	log_field_json(fields, "bson", bson ? SLICE("true") : SLICE("false"));
	if (request->app_metadata.p)
		log_field_json(fields, "app_metadata", request->app_metadata);
	if (request->parameters.p)
		add_parameters(fields, request->parameters);
	log_field_text(fields, "rid", slice_cstr(id));
	log_field_text(fields, "route", SLICE("/sync/stream"));
}
