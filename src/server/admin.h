/*
 * admin.h: what the admin routes share (http-api-and-operations 4, auth 6): the token, threads of their own, bodies, answers.
 *
 * A route's first half runs on the net thread (body, its schema, token, in this order), its second half on an admin thread, where it
 * may ask the source and take its time: so a source that does not answer holds up neither streams nor short requests.
 */
#ifndef SYNCLINE_SERVER_ADMIN_H
#define SYNCLINE_SERVER_ADMIN_H

#include <jansson.h>

#include "rules/rules.h"
#include "server/admin_queue.h"
#include "server/exchange.h"
#include "server/json_body.h"
#include "source/inspect.h"

/* Net thread: checks the token and hands x on; true: the answer (401, 429) is ready. run fills x->response. */
bool admin_begin(struct exchange *x, void (*run)(struct exchange *x));

/* The members of query and body (2.1) as one object, a new reference; NULL: the answer is made. */
json_t *admin_parameters(struct exchange *x);
/* The sync config of a deploy or validate: the YAML body, or the member "content" of a JSON one; into x->admin.text. False: answered. */
bool admin_yaml_body(struct exchange *x);

/* {"data": ...} on one line; takes the reference. */
void admin_answer(struct exchange *x, json_t *data);
/* Two-space indentation and a final newline (4.7, 4.8); takes the reference. */
void admin_answer_pretty(struct exchange *x, json_t *body);
/* 500 with the operator's text as details. */
void admin_failed(struct exchange *x, const struct error *err);
void admin_refused(struct exchange *x, int status, const char *code, const char *description, const char *details);

/* False: no source is configured, and that is answered (500). Admin thread. */
bool admin_need_source(struct exchange *x);

/* The slot's name, without the mark that a slot carries while it is being made. */
const char *admin_slot_name(const struct source_state *state);
/* The active or the pending sync config, in the arena; p == NULL: none. */
struct slice admin_stored_text(struct storage *s, bool active, struct arena *arena);

/* ---- admin_report.c: a sync config held against the source ------------------------------------------------------------------ */

/* The source as one admin request sees it. */
struct admin_source {
	struct arena *arena;
	struct source_connection *connection; /* NULL: not connected, err says why */
	struct source_facts facts;
	struct error err;
};
void admin_source_open(struct admin_source *a, struct server *s, struct arena *arena);
void admin_source_close(struct admin_source *a);

enum report_stage { REPORT_PROPOSED, REPORT_DEPLOYING, REPORT_ACTIVE };

/* The object of active_sync_rules and deploying_sync_rules (4.1), without "content". False: a query failed (*err). */
bool admin_report(struct server *s, struct admin_source *a, struct slice text, enum report_stage stage, json_t **out,
                  struct error *err);
/* The object of 4.7: valid, bucket_definitions, source_tables, data_tables, or valid and errors. */
json_t *admin_validation(struct server *s, struct admin_source *a, struct slice text);
/* admin_preview.c: definitions kept, reusable, new and removed by a deploy, and the tables that it would read; NULL: not known. */
json_t *admin_preview(struct server *s, struct admin_source *a, struct slice text);

#endif
