/* events.c: the events that bring write checkpoints with the replicated data (checkpoint-requests 7). */
#include "rules/bind.h"

#include "base/buf.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* No token carries a longer one. */
#define MAX_USER_ID ((size_t)64 << 10)
/* As in a request (checkpoint-requests 1). */
#define MAX_CLIENT_ID 1024

static bool brings_write_checkpoints(struct slice event, bool *temporary)
{
	*temporary = slice_eq(event, SLICE("checkpoint_requests"));
	return *temporary || slice_eq(event, SLICE("write_checkpoints"));
}

/* ---- the plan ---- */

bool plan_write_checkpoint_events(const struct plan *p, uint8_t hash[32])
{
	struct buf content = {0};
	bool any = false, temporary;
	const struct plan_options *o = &p->options;
	buf_printf(&content, "write checkpoints iso8601=%d digits=%d custom_types=%d fixed_json=%d\n", o->timestamps_iso8601,
	           o->timestamps_iso8601 ? o->timestamp_digits : -1, o->custom_postgres_types, o->fixed_json_extract);
	for (size_t i = 0; i < p->event_count; i++) {
		const struct plan_event *e = &p->events[i];
		if (!brings_write_checkpoints(e->name, &temporary))
			continue;
		any = true;
		buf_printf(&content, "event %.*s\n", SLICE_ARG(e->name));
		for (size_t j = 0; j < e->source_count; j++) {
			buf_slice_append(&content, e->sources[j].content);
			buf_putc(&content, '\n');
		}
	}
	unsigned n = 32;
	if (!EVP_Digest(content.p, content.n, hash, &n, EVP_sha256(), NULL))
		abort();
	buf_free(&content);
	return any;
}

bool plan_write_checkpoints_from(const struct plan *p, struct slice connection_tag, struct slice schema, struct slice table)
{
	bool temporary;
	for (size_t i = 0; i < p->event_count; i++) {
		const struct plan_event *e = &p->events[i];
		for (size_t j = 0; j < e->source_count && brings_write_checkpoints(e->name, &temporary); j++)
			if (table_pattern_matches(&p->patterns[e->sources[j].pattern], connection_tag, schema, table))
				return true;
	}
	return false;
}

/* ---- rows ---- */

struct event_run {
	const struct bound_table *b;
	const struct bound_source *source;
	const struct value *row;
	struct arena *arena;
	struct error err;
};

static const struct output_member *find_member(const struct bound_output *o, const char *fragment)
{
	for (size_t i = 0; i < o->member_count; i++)
		if (slice_eq(o->members[i].fragment, slice_cstr(fragment)))
			return &o->members[i];
	return NULL;
}

/* Does the member read a value that the source did not send? Of an expression all columns of the query count. */
static bool reads_unknown(const struct event_run *r, const struct output_member *m)
{
	for (size_t i = 0; i < m->contribution_count; i++) {
		int32_t column = m->contributions[i].column;
		if (column >= 0 && r->row[column].kind == VALUE_UNKNOWN)
			return true;
		for (size_t j = 0; column < 0 && j < r->source->source->column_count; j++)
			if (r->source->slots[j] >= 0 && r->row[r->source->slots[j]].kind == VALUE_UNKNOWN)
				return true;
	}
	return false;
}

enum member_outcome { MEMBER_VALUE, MEMBER_UNKNOWN, MEMBER_FAILED };

/* A member that is not selected is absent. */
static enum member_outcome read_member(struct event_run *r, const char *fragment, struct value *out)
{
	const struct bound_output *o = &r->b->outputs[r->source->output];
	const struct output_member *m = find_member(o, fragment);
	struct eval_env env = {.row = r->row, .slots = o->slots, .table = &r->source->names, .arena = r->arena, .err = &r->err};
	env.fixed_json_extract = r->b->plan->options.fixed_json_extract;
	*out = (struct value){.kind = VALUE_ABSENT};
	if (!m)
		return MEMBER_VALUE;
	if (reads_unknown(r, m))
		return MEMBER_UNKNOWN;
	return output_member_value(m, o->dialect, &env, out) ? MEMBER_VALUE : MEMBER_FAILED;
}

/* A name: text, or the decimal text of an INTEGER. */
static bool read_name(const struct value *v, size_t max, struct arena *arena, struct slice *out)
{
	if (v->kind != VALUE_TEXT && v->kind != VALUE_INTEGER)
		return false;
	*out = value_text_form(v, arena);
	if (!out->p)
		out->p = "";
	return out->n <= max && !(out->n && memchr(out->p, '\0', out->n));
}

static bool read_id(const struct value *v, uint64_t *id)
{
	if (v->kind == VALUE_INTEGER) {
		*id = v->i > 0 ? (uint64_t)v->i : 0;
		return v->i > 0;
	}
	return v->kind == VALUE_TEXT && slice_parse_u64(v->s, INT64_MAX, id) && *id > 0;
}

static bool refuse(struct row_write_checkpoint *out, const char *why)
{
	out->outcome = ROW_CHECKPOINT_REFUSED;
	out->why = slice_cstr(why);
	return false;
}

static bool read_row(struct event_run *r, struct row_write_checkpoint *out)
{
	struct value user, id, client;
	enum member_outcome got = read_member(r, ",\"user_id\":", &user);
	if (got == MEMBER_VALUE)
		got = read_member(r, ",\"checkpoint\":", &id);
	if (got == MEMBER_VALUE)
		got = read_member(r, ",\"client_id\":", &client);
	if (got == MEMBER_FAILED) {
		out->outcome = ROW_CHECKPOINT_REFUSED;
		out->why = arena_copy(r->arena, slice_cstr(r->err.message));
		return false;
	}
	out->outcome = got == MEMBER_UNKNOWN ? ROW_CHECKPOINT_UNKNOWN : ROW_CHECKPOINT;
	if (got == MEMBER_UNKNOWN)
		return false;
	if (!read_name(&user, MAX_USER_ID, r->arena, &out->user_id))
		return refuse(out, value_is_null(&user) ? "it has no user_id"
		                                        : "its user_id is neither text nor an integer, or too long");
	if (!read_id(&id, &out->id))
		return refuse(out, value_is_null(&id) ? "it has no checkpoint"
		                                      : "its checkpoint is not an integer from 1 to 9223372036854775807");
	out->client_id = (struct slice){NULL, 0};
	if (!value_is_null(&client) && !read_name(&client, MAX_CLIENT_ID, r->arena, &out->client_id))
		return refuse(out, "its client_id is neither text nor an integer, or longer than 1024 bytes");
	return true;
}

size_t bound_write_checkpoints(const struct bound_table *b, const struct value *row, struct arena *arena,
                               struct row_write_checkpoint out[MAX_ROW_CHECKPOINTS])
{
	size_t count = 0;
	bool temporary;
	for (size_t i = 0; i < b->event_count && count < MAX_ROW_CHECKPOINTS; i++) {
		if (!brings_write_checkpoints(b->events[i].name, &temporary))
			continue;
		struct event_run r = {.b = b, .source = &b->events[i].source, .row = row, .arena = arena};
		struct row_write_checkpoint *c = &out[count++];
		*c = (struct row_write_checkpoint){.event = b->events[i].name, .temporary = temporary};
		read_row(&r, c);
	}
	return count;
}

bool bound_only_events(const struct bound_table *b)
{
	return b->bucket_count == 0 && b->lookup_count == 0;
}
