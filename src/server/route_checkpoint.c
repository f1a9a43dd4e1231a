/*
 * route_checkpoint.c: the three routes that ask for a checkpoint (checkpoint-requests 1). Parsing and validation on the net thread,
 * the token there too if its keys never need a fetch, then the batcher.
 */
#include <math.h>

#include "base/clock.h"
#include "server/json_body.h"
#include "server/request_metrics.h"
#include "server/routes.h"
#include "server/state.h"
#include "server/token.h"

#define MAX_CLIENT_ID 1024
#define MAX_ID 9223372036854775807ull
#define MAX_SAFE_INTEGER 9007199254740991.0
#define LONGEST_WAIT_MS 50000

/* ---- validation ----------------------------------------------------------------------------------------------------------------- */

#define TEXT_NOT_INTEGER "/checkpoint_request_id: must be an integer, or a string of decimal digits"
#define TEXT_RANGE "/checkpoint_request_id: must be in the range 1 to 9223372036854775807"
#define TEXT_UNSAFE "/checkpoint_request_id: a number beyond 9007199254740991 must be sent as a string"

static const char *read_id_text(struct slice s, uint64_t *id)
{
	struct slice digits = s.n && s.p[0] == '-' ? slice_drop(s, 1) : s;
	if (digits.n == 0)
		return TEXT_NOT_INTEGER;
	for (size_t i = 0; i < digits.n; i++)
		if (digits.p[i] < '0' || digits.p[i] > '9')
			return TEXT_NOT_INTEGER;
	if (digits.n != s.n || !slice_parse_u64(digits, MAX_ID, id) || *id == 0)
		return TEXT_RANGE;
	return NULL;
}

/* NULL, or the complaint. */
static const char *read_id(const json_t *value, uint64_t *id)
{
	if (json_is_string(value))
		return read_id_text(slice_make(json_string_value(value), json_string_length(value)), id);
	if (!json_is_real(value))
		return TEXT_NOT_INTEGER;
	double n = json_real_value(value);
	if (n != floor(n))
		return TEXT_NOT_INTEGER;
	if (n < 1)
		return TEXT_RANGE;
	if (n > MAX_SAFE_INTEGER)
		return TEXT_UNSAFE;
	*id = (uint64_t)n;
	return NULL;
}

static void check_client_id(struct complaints *c, struct slice id)
{
	if (id.n > MAX_CLIENT_ID)
		complain(c, "/client_id: must not be longer than 1024 bytes");
	else if (memchr(id.p, '\0', id.n))
		complain(c, "/client_id: must not contain a NUL");
}

/* Fills the job from the body; false: the answer is made. Missing members are named alone, the last of them. */
static bool read_body(struct exchange *x, const json_t *body)
{
	struct complaints c = {0};
	const json_t *client = json_object_get(body, "client_id"), *id = json_object_get(body, "checkpoint_request_id");
	if (!id)
		complain(&c, " must have required property 'checkpoint_request_id'");
	else if (!client)
		complain(&c, " must have required property 'client_id'");
	if (client && !json_is_string(client))
		complain(&c, "/client_id: type must be string");
	const char *complaint = id ? read_id(id, &x->job.id) : NULL;
	if (client && json_is_string(client)) {
		x->job.user.client_id =
		        arena_copy(&x->request.arena, slice_make(json_string_value(client), json_string_length(client)));
		check_client_id(&c, x->job.user.client_id);
	}
	if (complaint)
		complain(&c, complaint);
	return !complaints_answer(&c, &x->response);
}

/* ---- answers -------------------------------------------------------------------------------------------------------------------- */

static void answer_id(struct exchange *x, const char *name, uint64_t id)
{
	x->response.status = 200;
	x->response.content_type = JSON_TYPE;
	buf_printf(&x->response.body, "{\"data\":{\"%s\":\"%llu\"}}", name, (unsigned long long)id);
}

static struct exchange *exchange_of_job(struct checkpoint_job *j)
{
	return (struct exchange *)((char *)j - offsetof(struct exchange, job));
}

/* Counts it, and tells at level debug what came in and what storage made of it. The batcher's thread. */
static void note_outcome(struct exchange *x)
{
	const struct log *log = x->server->options.log;
	const struct checkpoint_job *j = &x->job;
	struct buf f = {0};
	char head[LSN_TEXT_SIZE];
	request_metrics_count(x->server->request_metrics, j);
	if (!log_on(log, LOG_DEBUG))
		return;
	log_field_text(&f, "user_id", x->token.user_id);
	if (j->kind == JOB_STORE && j->user.client_id.p)
		log_field_text(&f, "client_id", j->user.client_id);
	log_field_text(&f, "rid", slice_cstr(x->id));
	if (j->id)
		log_field_number(&f, "requested_id", (int64_t)j->id);
	if (j->outcome == OUTCOME_DONE)
		log_field_number(&f, j->kind == JOB_STORE ? "stored_id" : "op_id", (int64_t)j->stored_id);
	if (j->head_known) {
		lsn_format(j->head.lsn, head);
		log_field_text(&f, "head", slice_cstr(head));
	}
	log_fields(log, LOG_DEBUG, buf_slice(&f), "Checkpoint request %s",
	           j->outcome == OUTCOME_TIMEOUT  ? "not passed in time"
	           : j->outcome == OUTCOME_FAILED ? "failed"
	           : j->kind == JOB_WAIT          ? "passed"
	           : !j->stored                   ? (j->pending ? "known, pending" : "known, acknowledged")
	           : !j->head_known               ? "stored, waits for the source"
	                                          : (j->pending ? "stored, pending" : "stored, acknowledged"));
	buf_free(&f);
}

static void answer(struct checkpoint_job *j, const char *name)
{
	struct exchange *x = exchange_of_job(j);
	note_outcome(x);
	if (j->outcome == OUTCOME_DONE)
		answer_id(x, name, j->stored_id);
	else
		response_internal(&x->response);
	exchange_finish(x);
}

static void request_stored(struct checkpoint_job *j)
{
	answer(j, "checkpoint_request_id");
}

static void generated_stored(struct checkpoint_job *j)
{
	answer(j, "write_checkpoint");
}

static void position_passed(struct checkpoint_job *j)
{
	answer(j, "checkpoint");
}

/* ---- the common way -------------------------------------------------------------------------------------------------------------- */

/* The token, and an active sync config; false: the answer is made. */
static bool admit(struct exchange *x)
{
	if (!token_check(x))
		return false;
	if (!storage_checkpoint(x->server->options.storage).valid) {
		response_error(&x->response,
		               &(struct error_body){
		                       .status = 500,
		                       .omit_status = true,
		                       .code = "PSYNC_S2302",
		                       .description = SLICE("Cannot create Write Checkpoint since no sync config is active."),
		                       .name = "ServiceError",
		               });
		return false;
	}
	/* Write checkpoints come with the data then (section 7); the oldest route stores nothing and goes on. */
	if (x->job.kind == JOB_STORE && storage_custom_mode(x->server->options.storage)) {
		struct complaints c = {0};
		complain(&c, CUSTOM_MODE_REFUSAL);
		complaints_answer(&c, &x->response);
		return false;
	}
	if (!x->server->options.source) {
		response_internal(&x->response);
		return false;
	}
	x->job.user.subject = x->token.user_id;
	x->job.deadline_ms = clock_mono_ms() + LONGEST_WAIT_MS;
	return true;
}

/* The answer is made, without the batcher. */
static bool refused(struct exchange *x)
{
	request_metrics_count(x->server->request_metrics, NULL);
	return true;
}

static void admit_away(struct task *task)
{
	struct exchange *x = exchange_of_task(task);
	if (admit(x)) {
		requests_submit(x->server->requests, &x->job);
		return;
	}
	refused(x);
	exchange_finish(x);
}

/* True: answered. */
static bool submit(struct exchange *x)
{
	if (!x->server->options.keys_are_local) {
		exchange_to_verifier(x, admit_away);
		return false;
	}
	if (!admit(x))
		return refused(x);
	x->away = true;
	x->net->away++;
	requests_submit(x->server->requests, &x->job);
	return false;
}

bool route_checkpoint_request(struct exchange *x)
{
	json_t *body = body_json_object(&x->request, &x->response);
	if (!body)
		return refused(x);
	x->job = (struct checkpoint_job){.kind = JOB_STORE, .done = request_stored};
	bool ok = read_body(x, body);
	json_decref(body);
	return ok ? submit(x) : refused(x);
}

bool route_write_checkpoint2(struct exchange *x)
{
	bool bad = false;
	struct slice client = {0};
	struct complaints c = {0};
	if (http_query(&x->request, SLICE("client_id"), &client, &bad)) {
		if (bad)
			complain(&c, "/client_id: must be UTF-8 text");
		else
			check_client_id(&c, client);
		if (complaints_answer(&c, &x->response))
			return refused(x);
	}
	x->job = (struct checkpoint_job){.kind = JOB_STORE, .user.client_id = client, .done = generated_stored};
	return submit(x);
}

bool route_write_checkpoint(struct exchange *x)
{
	x->job = (struct checkpoint_job){.kind = JOB_WAIT, .done = position_passed};
	return submit(x);
}
