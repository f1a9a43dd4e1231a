/* storage_request_steps.h: the steps of storage scenarios about checkpoint requests. */
#ifndef TESTS_VECTORS_STORAGE_REQUEST_STEPS_H
#define TESTS_VECTORS_STORAGE_REQUEST_STEPS_H

#include "storage/compact.h"
#include "storage_read_steps.h"
#include "storage_run.h"
#include "storage_stream_steps.h"

/* ---- write checkpoints ---- */

/* On the shared layout the record of a user with a client id has the text of both. */
static struct user_key user_of(const struct run *r, const char *name)
{
	const char *slash = r->shared ? strchr(name, '/') : NULL;
	if (slash)
		return (struct user_key){slice_make(name, (size_t)(slash - name)), slice_cstr(slash + 1)};
	return (struct user_key){slice_cstr(name), {NULL, 0}};
}

static bool same_user(const struct user_key *a, struct user_key b)
{
	return slice_eq(a->subject, b.subject) && slice_eq(a->client_id, b.client_id);
}

static bool do_request_checkpoints(struct run *r, json_t *step)
{
	json_t *requests = json_object_get(step, "requests"), *want = json_object_get(step, "expect"), *v;
	size_t count = json_array_size(requests), i;
	struct checkpoint_request *list = arena_array(&r->arena, struct checkpoint_request, count + 1);
	uint64_t head = 0;
	json_array_foreach(requests, i, v)
	{
		list[i] = (struct checkpoint_request){.user = user_of(r, text_of(v, "user")),
		                                      .id = number_of(json_object_get(v, "id"))};
		head = lsn_of(text_of(v, "head"));
	}
	bool ok = storage_request_checkpoints(r->on->s, list, count, true, (struct position){0, head}, &r->err);
	if (json_object_get(want, "error"))
		return !ok || differ(r, "no error");
	must(r, ok);
	const char *user;
	json_object_foreach(json_object_get(want, "ids"), user,
	                    v) for (i = 0; i < count;
	                            i++) if (same_user(&list[i].user, user_of(r, user)) &&
	                                     list[i].stored_id !=
	                                             number_of(v)) return differ(r, "%s is at %llu", user,
	                                                                         (unsigned long long)list[i].stored_id);
	bool pending = false;
	for (i = 0; i < count; i++)
		pending |= list[i].pending;
	/* This storage knows what was passed: it may say that no marker is needed where the recorded one cannot. */
	return !pending || json_is_true(json_object_get(want, "should_advance")) || differ(r, "should_advance");
}

static uint64_t acknowledged(struct run *r, const char *user, uint64_t lsn)
{
	struct user_key u = user_of(r, user);
	return storage_write_checkpoint(r->on->s, &u, (struct position){0, lsn});
}

static bool do_last_write_checkpoint(struct run *r, json_t *step)
{
	json_t *head = json_object_get(step, "head"), *id = json_object_get(json_object_get(step, "expect"), "id");
	uint64_t at = json_is_string(head) ? lsn_of(json_string_value(head)) : served_checkpoint(r).position.lsn;
	uint64_t have = json_is_null(head) ? 0 : acknowledged(r, text_of(step, "user"), at);
	return have == number_of(id) || differ(r, "%llu", (unsigned long long)have);
}

/* ---- custom write checkpoints ---- */

/* The mode comes with the active sync config, so that becomes active now. */
static bool do_custom_mode(struct run *r, json_t *step)
{
	bool durable;
	(void)step;
	if (!r->on->snapshot_done)
		snapshot_done(r, NULL);
	must(r, storage_commit(r->on->s, (struct position){0, r->on->has_before ? r->on->before_lsn : r->final_lsn}, true,
	                       &durable, &r->err));
	return storage_custom_mode(r->on->s) || differ(r, "custom mode is off");
}

static bool do_custom_checkpoint(struct run *r, json_t *step)
{
	if (!r->custom) /* the two modes never meet here */
		return true;
	struct stored_plan *p = storage_active_plan(r->on->s);
	struct custom_checkpoint c = {.events = p->events,
	                              .user = user_of(r, text_of(step, "user")),
	                              .id = number_of(json_object_get(step, "id")),
	                              .temporary = json_object_get(step, "requested_minutes_ago") != NULL,
	                              .position = {0, r->final_lsn}};
	must(r, storage_custom_checkpoint(r->on->s, &c, &r->err));
	stored_plan_unref(p);
	return true;
}

static bool same_custom_records(struct run *r, json_t *want)
{
	json_t *v;
	size_t i;
	bool ok = true;
	json_array_foreach(want, i, v)
	{
		struct buf key = {0}, bytes = {0};
		struct custom_record record = {.count = 0};
		struct user_key u = user_of(r, text_of(v, "user"));
		user_key_encode(&key, &u);
		int got = r->on->s->backend->ops->custom_read(r->on->s->backend, buf_slice(&key), &bytes, &r->err);
		must(r, got >= 0 && (!got || custom_decode(&record, buf_slice(&bytes), &r->err)));
		const struct custom_entry *e = record.count ? &record.entries[record.count - 1] : NULL;
		if (!e || e->id != number_of(json_object_get(v, "id")) ||
		    e->temporary != json_is_true(json_object_get(v, "stamped")))
			ok = differ(r, "the custom record of %s", text_of(v, "user"));
		buf_free(&key);
		buf_free(&bytes);
	}
	return ok;
}

static bool with_record(struct run *r, const char *user, struct user_record *u, struct buf *key, bool store)
{
	const struct backend_ops *ops = r->on->s->backend->ops;
	struct requests_txn *t;
	struct slice record;
	struct user_key k = user_of(r, user);
	must(r, ops->requests_begin(r->on->s->backend, store, &t, &r->err));
	buf_clear(key);
	user_key_encode(key, &k);
	int got = 1;
	if (store) {
		struct buf b = {0};
		user_encode(&b, u);
		must(r, ops->user_put(t, buf_slice(key), buf_slice(&b), &r->err) && ops->requests_commit(t, &r->err));
		buf_free(&b);
	} else {
		got = ops->user_get(t, buf_slice(key), &record, &r->err);
		must(r, got == 0 || user_decode(u, record, &r->err));
		ops->requests_abort(t);
	}
	return got;
}

static bool do_age_requests(struct run *r, json_t *step)
{
	struct user_record u;
	struct buf key = {0};
	if (r->shared) {
		shared_age(r, text_of(step, "user"), (int)json_integer_value(json_object_get(step, "minutes")));
		return true;
	}
	if (with_record(r, text_of(step, "user"), &u, &key, false) && u.stamped) {
		u.stamp_ms -= json_integer_value(json_object_get(step, "minutes")) * 60000;
		with_record(r, text_of(step, "user"), &u, &key, true);
	}
	buf_free(&key);
	return true;
}

static size_t step_size(json_t *step, const char *key)
{
	return (size_t)json_integer_value(json_object_get(step, key));
}

static bool do_compact(struct run *r, json_t *step)
{
	json_t *names = json_object_get(step, "buckets"), *memory = json_object_get(step, "memory_limit_mb"), *v;
	struct slice wanted[16];
	struct compact_report report;
	struct compact_options o = {.buckets = true,
	                            .names = wanted,
	                            .max_op_id = translate(r, number_of(json_object_get(step, "max_op_id"))),
	                            .clear_step = step_size(step, "clear_batch_limit"),
	                            .move_step = step_size(step, "move_batch_limit"),
	                            .read_step = step_size(step, "move_batch_query_limit"),
	                            .memory = memory ? (size_t)json_integer_value(memory) << 20 : 0};
	size_t i;
	/* Retention belongs to the same command; a store without a checkpoint does nothing. */
	json_t *minutes = json_object_get(step, "retention_minutes");
	if (minutes && served_checkpoint(r).valid) {
		r->on->s->retention_ms = json_integer_value(minutes) * 60000;
		must(r, storage_expire_requests(r->on->s, &r->err));
	}
	if (!json_object_get(step, "max_op_id"))
		o.max_op_id = 0;
	if (memory && !o.memory)
		o.memory = SIZE_MAX;
	json_array_foreach(names, i, v)
	{
		struct slice keys, name = without_number(json_string_value(v));
		uint32_t definition = split_name(r, json_string_value(v), &keys);
		if (r->shared)
			wanted[o.name_count++] = slice_cstr(json_string_value(v));
		else
			wanted[o.name_count++] = arena_printf(&r->arena, "%u#%.*s", definition, SLICE_ARG(name));
	}
	must(r, storage_compact(r->on->s, &o, &report, &r->err));
	return report.unknown == 0 || differ(r, "a bucket was not found");
}

/* The record of the shared tables is the newest association. */
static bool do_write_checkpoints(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "managed"), *v;
	size_t i;
	struct buf key = {0};
	bool ok = true;
	if (r->shared)
		return shared_write_checkpoints(r, json_object_get(step, "expect"));
	json_array_foreach(want, i, v)
	{
		struct user_record u;
		bool found = with_record(r, text_of(v, "user"), &u, &key, false);
		if (!found || !u.count || u.entries[u.count - 1].id != number_of(json_object_get(v, "id")) ||
		    u.entries[u.count - 1].head.lsn != lsn_of(text_of(v, "head")) ||
		    u.stamped != json_is_true(json_object_get(v, "stamped"))) {
			ok = differ(r, "record of %s: id %llu, head %llx, %s", text_of(v, "user"),
			            (unsigned long long)(found && u.count ? u.entries[u.count - 1].id : 0),
			            (unsigned long long)(found && u.count ? u.entries[u.count - 1].head.lsn : 0),
			            u.stamped ? "stamped" : "persistent");
			break;
		}
	}
	buf_free(&key);
	return ok && (!r->custom || same_custom_records(r, json_object_get(json_object_get(step, "expect"), "custom")));
}

static bool do_watch(struct run *r, json_t *step)
{
	json_t *event = json_object_get(json_object_get(step, "expect"), "event");
	bool first = strcmp(text_of(step, "do"), "watch") == 0;
	const char *name = text_of(step, first ? "as" : "watch");
	struct checkpoint c = served_checkpoint(r);
	size_t at = 0;
	while (at < r->watch_count && strcmp(r->watches[at].name, name) != 0)
		at++;
	if (first) {
		at = r->watch_count++;
		snprintf(r->watches[at].name, sizeof(r->watches[at].name), "%s", name);
		snprintf(r->watches[at].user, sizeof(r->watches[at].user), "%s", text_of(step, "user"));
		event = json_object_get(step, "expect");
	}
	char checkpoint[32], id[32];
	uint64_t acked = acknowledged(r, r->watches[at].user, c.position.lsn);
	snprintf(checkpoint, sizeof(checkpoint), "%llu", (unsigned long long)c.op_id);
	snprintf(id, sizeof(id), "%llu", (unsigned long long)acked);
	bool same = !first && strcmp(checkpoint, r->watches[at].checkpoint) == 0 && strcmp(id, r->watches[at].id) == 0;
	snprintf(r->watches[at].checkpoint, sizeof(r->watches[at].checkpoint), "%s", checkpoint);
	snprintf(r->watches[at].id, sizeof(r->watches[at].id), "%s", id);
	if (json_is_null(event) || !event)
		return same || differ(r, "an event");
	if (same)
		return differ(r, "no event");
	if (number_of(json_object_get(event, "write_checkpoint")) != acked)
		return differ(r, "write checkpoint %s", id);
	return pair_checkpoint(r, number_of(json_object_get(event, "checkpoint")), c.op_id);
}

#endif
