/* storage_stream_steps.h: the steps of storage scenarios about streams, their tables and their checkpoints. */
#ifndef TESTS_VECTORS_STORAGE_STREAM_STEPS_H
#define TESTS_VECTORS_STORAGE_STREAM_STEPS_H

#include "storage/compact.h"
#include "storage_run.h"
#include "storage_shared.h"

/* ---- deploys, writers, tables ---- */

static struct run_table *table_named(struct run *r, const char *name)
{
	for (size_t i = 0; i < r->on->table_count; i++)
		if (strcmp(r->on->tables[i].name, name) == 0)
			return &r->on->tables[i];
	fprintf(stderr, "no table %s\n", name);
	exit(1);
}

static const char *subkey_id(struct run *r, uint32_t table)
{
	struct pg_table_part *part_of = r->shared ? shared_table(r, table) : NULL;
	return part_of ? part_of->id : names_get(&r->on->s->table_names, table).p;
}

/* Here the sync config says so (checkpoint-requests 7). */
#define CUSTOM_EVENTS                                                                                                            \
	"event_definitions:\n  write_checkpoints:\n    payloads:\n      - SELECT user_id, checkpoint FROM checkpoints\n"

/* What a deploy is to answer, or its error. */
static bool deployed(struct run *r, bool ok, json_t *want)
{
	if (json_object_get(want, "error"))
		return (!ok && strcmp(r->err.code, text_of(want, "error")) == 0) || differ(r, "no error");
	must(r, ok);
	if (!r->shared)
		return true;
	const struct pg_stream *stream = shared_stream(r);
	return (stream->id == json_integer_value(json_object_get(want, "stream_id")) &&
	        stream->version == json_integer_value(json_object_get(want, "storage_version")) &&
	        stream->state == PG_STREAM_PROCESSING) ||
	       differ(r, "stream %d, storage version %d", stream->id, stream->version);
}

static void compile_config(struct run *r, json_t *step)
{
	struct diagnostics d = {0};
	struct slice config = arena_printf(&r->arena, "%s%s", text_of(step, "config"), r->custom ? CUSTOM_EVENTS : "");
	r->on->plan = plan_compile(config, SLICE("public"), &d);
	if (!r->on->plan) {
		fprintf(stderr, "the config does not compile: %.*s", SLICE_ARG(d.items[d.count - 1].message));
		exit(1);
	}
	diagnostics_free(&d);
}

/* The first stream is there already. */
static bool next_stream(struct run *r, json_t *step)
{
	const char *as = text_of(step, "as");
	if (!r->on->plan)
		return true;
	r->over = !r->shared;
	if (r->shared)
		r->on = shared_open_stream(r, as ? as : "");
	return r->shared;
}

static bool do_deploy(struct run *r, json_t *step)
{
	bool unchanged;
	if (!next_stream(r, step))
		return true;
	compile_config(r, step);
	return deployed(
	        r,
	        r->shared ? shared_deploy(r, (int)json_integer_value(json_object_get(step, "storage_version")), false, &unchanged)
	                  : storage_deploy(r->on->s, r->on->plan, &unchanged, &r->err),
	        json_object_get(step, "expect"));
}

/* For the shared layouts alone. */
static bool do_configure(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect");
	bool unchanged;
	next_stream(r, step);
	compile_config(r, step);
	must(r, shared_deploy(r, (int)json_integer_value(json_object_get(step, "storage_version")), true, &unchanged));
	if (unchanged == json_is_true(json_object_get(want, "updated")))
		return differ(r, "updated");
	return r->on->id == json_integer_value(json_object_get(want, "stream_id")) || differ(r, "stream %d", r->on->id);
}

/* Where replication goes on: the applied position, which lies with the data (storage-semantics 6); on the shared layout also what the record
 * tells somebody else. */
static bool resumes_at(struct run *r, const char *lsn)
{
	struct source_state state;
	must(r, storage_source_state(r->on->s, &state, &r->err));
	if (r->shared) {
		struct shared_record record = shared_record(r);
		uint64_t last = record.checkpoint.position.lsn, resume = record.resume > last ? record.resume : last;
		return (resume == lsn_of(lsn) && state.applied.lsn >= resume) ||
		       differ(r, "resumes at %llx, the record says %llx", (unsigned long long)state.applied.lsn,
		              (unsigned long long)resume);
	}
	return state.applied.lsn == lsn_of(lsn) || differ(r, "resumes at %llx", (unsigned long long)state.applied.lsn);
}

static bool do_writer(struct run *r, json_t *step)
{
	json_t *images = json_object_get(step, "store_current_data");
	const char *as = text_of(step, "as");
	r->on->images = !images || json_is_true(images);
	if (r->shared && !r->on->dirty) /* what is known comes from the database: as in another process */
		shared_take(r);
	if (json_is_true(json_object_get(step, "skip_existing_rows")))
		snprintf(r->on->skipping_writer, sizeof(r->on->skipping_writer), "%s", as);
	snprintf(r->writers[r->writer_count].name, sizeof(r->writers[0].name), "%s", as ? as : "w1");
	r->writers[r->writer_count++].stream = r->on;
	return resumes_at(r, text_of(json_object_get(step, "expect"), "resume_from_lsn"));
}

static bool do_set_resume(struct run *r, json_t *step)
{
	bool durable;
	if (r->shared) {
		shared_mark(r, "snapshot_lsn = $2", text_of(step, "lsn"));
		shared_take(r);
		return true;
	}
	must(r, storage_commit(r->on->s, (struct position){0, lsn_of(text_of(step, "lsn"))}, false, &durable, &r->err));
	return true;
}

static bool do_status(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect");
	bool done = r->shared ? shared_record(r).snapshot_done : r->on->snapshot_done;
	if (json_is_true(json_object_get(want, "snapshot_done")) != (done && served_checkpoint(r).valid))
		return differ(r, "snapshot_done");
	return resumes_at(r, text_of(want, "resume_lsn"));
}

static bool do_report_error(struct run *r, json_t *step)
{
	must(r, storage_report_failure(r->on->s, slice_cstr(text_of(step, "message")), &r->err));
	return true;
}

/* The one stream that there is; where it goes on and what it keeps back are other steps'. */
static bool one_stream(struct run *r, json_t *want)
{
	const char *checkpoint = text_of(want, "last_checkpoint"), *failure = text_of(want, "last_fatal_error");
	struct checkpoint c = served_checkpoint(r);
	char stored[STORAGE_FAILURE_SIZE];
	if (strcmp(text_of(want, "state"), c.valid ? "ACTIVE" : "PROCESSING") != 0)
		return differ(r, "state");
	if (c.valid != (checkpoint != NULL) || c.position.lsn != lsn_of(text_of(want, "last_checkpoint_lsn")))
		return differ(r, "last_checkpoint_lsn: %llx", (unsigned long long)c.position.lsn);
	if (checkpoint && !pair_checkpoint(r, number_of(json_object_get(want, "last_checkpoint")), c.op_id))
		return false;
	storage_last_failure(r->on->s, stored);
	return strcmp(failure ? failure : "", stored) == 0 || differ(r, "last_fatal_error: %s", stored);
}

static bool do_streams(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect");
	return r->shared ? shared_streams(r, want) : one_stream(r, json_array_get(json_object_get(want, "streams"), 0));
}

/* The scenario does not look at its tables: on the shared layout a table that was not read holds its stream back. */
static void tables_done(struct run *r)
{
	struct pg_writer *w = shared_writer(r);
	for (uint32_t i = 1; i <= w->table_count; i++) {
		const struct pg_table_part *p = shared_table(r, i);
		/* It was read once, and is not done: as the scenarios have it. */
		if (p && !p->snapshot_done && !p->snapshot_epoch)
			must(r, storage_table_done(r->on->s, i, storage_epoch(r->on->s), &r->err) &&
			                storage_table_restart(r->on->s, i, &r->err));
	}
}

static bool do_resolve_table(struct run *r, json_t *step)
{
	json_t *columns = json_object_get(step, "replica_id_columns"), *want = json_object_get(step, "expect");
	size_t count = json_array_size(columns), drop_count;
	struct table_key_column *key = arena_array(&r->arena, struct table_key_column, count);
	for (size_t i = 0; i < count; i++) {
		json_t *c = json_array_get(columns, i);
		key[i] = (struct table_key_column){slice_cstr(text_of(c, "name")),
		                                   (uint32_t)json_integer_value(json_object_get(c, "type_oid"))};
	}
	const char *name = text_of(step, "name"), *schema = text_of(step, "schema"), *as = text_of(step, "as");
	struct table_identity t = {.schema = slice_cstr(schema ? schema : "public"),
	                           .name = slice_cstr(name),
	                           .oid = (uint32_t)json_integer_value(json_object_get(step, "object_id")),
	                           .key = key,
	                           .key_count = count};
	struct stored_table out;
	uint32_t *drop, before = r->shared ? (uint32_t)shared_writer(r)->table_count : r->on->s->state.last_table;
	must(r, storage_resolve_table(r->on->s, &t, &r->arena, &out, &drop, &drop_count, &r->err));
	if (r->shared) {
		struct pg_table_part *p = shared_table(r, out.number);
		if (p && out.number > before)
			snprintf(p->id, sizeof(p->id), "%s", text_of(step, "new_id"));
		snprintf(out.subkey_id, sizeof(out.subkey_id), "%s", p ? p->id : "");
	} else if (out.number > before) { /* a new record: the scenario names its id */
		struct table_record *rec = &r->on->s->tables[r->on->s->table_count - 1];
		snprintf(rec->subkey_id, sizeof(rec->subkey_id), "%s", text_of(step, "new_id"));
		snprintf(out.subkey_id, sizeof(out.subkey_id), "%s", rec->subkey_id);
		names_set(&r->on->s->table_names, out.number, slice_cstr(rec->subkey_id));
		must(r, storage_table_progress(r->on->s, out.number, (struct slice){"", 0}, 0, &r->err));
	}
	if (r->on->table_count == RUN_TABLES) {
		fprintf(stderr, "too many tables\n");
		exit(1);
	}
	struct run_table *k = &r->on->tables[r->on->table_count++];
	*k = (struct run_table){.number = out.number,
	                        .complete_rows = json_is_true(json_object_get(step, "sends_complete_rows"))};
	snprintf(k->name, sizeof(k->name), "%s", as ? as : name);
	snprintf(k->source, sizeof(k->source), "%s", name);
	snprintf(k->id, sizeof(k->id), "%s", out.subkey_id);
	for (size_t i = 0; i + 1 < r->on->table_count; i++)
		if (strcmp(r->on->tables[i].name, k->name) == 0) {
			r->on->tables[i] = *k;
			r->on->table_count--;
			break;
		}
	if (r->shared && r->on->all_done)
		tables_done(r);
	if (strcmp(out.subkey_id, text_of(want, "id")) != 0)
		return differ(r, "kept %s", out.subkey_id);
	if (json_array_size(json_object_get(want, "drop")) != drop_count)
		return differ(r, "%zu records to drop", drop_count);
	for (size_t i = 0; i < drop_count; i++) {
		bool found = false;
		for (size_t j = 0; j < drop_count; j++)
			found |= strcmp(json_string_value(json_array_get(json_object_get(want, "drop"), j)),
			                subkey_id(r, drop[i])) == 0;
		if (!found)
			return differ(r, "drops another record");
	}
	return out.snapshot_done == json_is_true(json_object_get(want, "snapshot_complete")) || differ(r, "snapshot_complete");
}

/* ---- commits, and what a snapshot is at ---- */

/* The storage decides what the commit makes; its record tells. */
static bool shared_commit(struct run *r, uint64_t lsn, bool create_empty, json_t *want)
{
	struct shared_record before = shared_record(r);
	bool durable, blocked = json_is_true(json_object_get(want, "blocked")),
	              created = json_is_true(json_object_get(want, "created"));
	if (create_empty)
		storage_want_position(r->on->s, (struct position){0, lsn});
	if (r->on->all_done)
		tables_done(r);
	must(r, storage_commit(r->on->s, (struct position){0, lsn}, true, &durable, &r->err));
	shared_checkpoint(r);
	struct shared_record after = shared_record(r);
	bool same = before.checkpoint.valid == after.checkpoint.valid && before.checkpoint.op_id == after.checkpoint.op_id &&
	            before.checkpoint.position.lsn == after.checkpoint.position.lsn;
	bool can = after.snapshot_done && before.checkpoint.position.lsn <= lsn && after.no_checkpoint_before <= lsn;
	if (can == blocked)
		return differ(r, "blocked");
	if (blocked || !created)
		return (same && (!blocked || after.has_pending)) || differ(r, "a checkpoint was made");
	return (after.checkpoint.position.lsn == lsn && !after.has_pending) || differ(r, "no checkpoint was made");
}

static bool embedded_commit(struct run *r, uint64_t lsn, bool create_empty, json_t *want)
{
	struct run_stream *on = r->on;
	bool can = on->snapshot_done && (!on->has_last || on->last_lsn <= lsn) && (!on->has_before || on->before_lsn <= lsn);
	struct checkpoint c = storage_checkpoint(on->s);
	bool durable, created = can && (create_empty || on->s->state.op_seq != c.op_id);
	if (created) /* a position alone is a checkpoint only if somebody waits for it */
		storage_want_position(on->s, (struct position){0, lsn});
	if (created || !can || on->dirty)
		must(r, storage_commit(on->s, (struct position){0, lsn}, can, &durable, &r->err));
	if (created) {
		on->has_last = true;
		on->last_lsn = lsn;
		c = storage_checkpoint(on->s);
		if (!c.valid || c.position.lsn != lsn)
			return differ(r, "no checkpoint was made");
	}
	if (can == json_is_true(json_object_get(want, "blocked")))
		return differ(r, "blocked");
	return created == json_is_true(json_object_get(want, "created")) || differ(r, "created");
}

static bool do_commit(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *empty = json_object_get(step, "create_empty");
	bool create_empty = !empty || json_is_true(empty);
	uint64_t lsn = lsn_of(text_of(step, "lsn"));
	bool ok = r->shared ? shared_commit(r, lsn, create_empty, want) : embedded_commit(r, lsn, create_empty, want);
	r->on->dirty = false;
	r->on->queued = 0;
	return ok;
}

static bool snapshot_done(struct run *r, const char *before)
{
	struct stored_plan *p = storage_pending_plan(r->on->s);
	r->on->snapshot_done = true;
	r->on->has_before = before != NULL;
	r->on->before_lsn = lsn_of(before);
	for (size_t i = 0; p && i < p->count; i++)
		must(r, storage_definition_ready(r->on->s, p->definitions[i].number, &r->err));
	stored_plan_unref(p);
	if (!r->shared || shared_record(r).deploying)
		must(r, storage_activate_pending(r->on->s, &r->err));
	if (r->shared)
		shared_mark(r, "snapshot_done = true, " RAISE_NO_CHECKPOINT_BEFORE, before);
	return true;
}

static bool do_mark_all_snapshot_done(struct run *r, json_t *step)
{
	r->on->all_done = true;
	if (r->shared)
		tables_done(r);
	return snapshot_done(r, text_of(step, "no_checkpoint_before"));
}

/* Definitions are filled when all of their tables are; the store refuses to activate before. */
static bool do_mark_snapshot_done(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *quiet = json_object_get(step, "throw_on_conflict");
	size_t count = r->shared ? shared_writer(r)->table_count : r->on->s->table_count;
	for (size_t i = 0; i < count; i++) {
		const struct pg_table_part *p = r->shared ? shared_table(r, (uint32_t)i + 1) : NULL;
		if (r->shared ? !p || p->snapshot_done : r->on->s->tables[i].dropped || r->on->s->tables[i].snapshot_done)
			continue;
		if (storage_activate_pending(r->on->s, &r->err))
			return differ(r, "a plan is activated that is not filled");
		return (quiet && json_is_false(quiet)) || (want && strcmp(r->err.code, text_of(want, "error")) == 0) ||
		       differ(r, "%s", r->err.code);
	}
	return !json_object_get(want, "error") ? snapshot_done(r, text_of(step, "no_checkpoint_before")) : differ(r, "no error");
}

/* On the shared layout somebody else says so, in the record. */
static bool do_table_required(struct run *r, json_t *step)
{
	must(r, storage_table_restart(r->on->s, table_named(r, text_of(step, "table"))->number, &r->err));
	r->on->snapshot_done = false;
	if (r->shared) {
		must(r, storage_flush(r->on->s, &r->err));
		shared_mark(r, "snapshot_done = false", NULL);
		shared_take(r);
	}
	return true;
}

static bool do_table_progress(struct run *r, json_t *step)
{
	const char *hex = text_of(step, "last_key");
	char bytes[64];
	size_t n = hex ? strlen(hex) / 2 : 0;
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		sscanf(hex + 2 * i, "%2x", &byte);
		bytes[i] = (char)byte;
	}
	must(r, storage_table_progress(r->on->s, table_named(r, text_of(step, "table"))->number, slice_make(bytes, n),
	                               number_of(json_object_get(step, "replicated_count")), &r->err));
	return true;
}

static bool do_table_done(struct run *r, json_t *step)
{
	json_t *tables = json_object_get(step, "tables");
	if (r->shared)
		shared_mark(r, RAISE_NO_CHECKPOINT_BEFORE, text_of(step, "no_checkpoint_before"));
	for (size_t i = 0; i < json_array_size(tables); i++)
		must(r, storage_table_done(r->on->s, table_named(r, json_string_value(json_array_get(tables, i)))->number,
		                           r->shared ? storage_epoch(r->on->s) : 1, &r->err));
	return true;
}

static bool do_table_status(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *status = json_object_get(want, "snapshot_status");
	uint32_t number = table_named(r, text_of(step, "table"))->number;
	const struct table_record *t = NULL;
	struct table_record shared = {0};
	const struct pg_table_part *p = r->shared ? shared_table(r, number) : NULL;
	if (p) {
		shared = (struct table_record){
		        .snapshot_done = p->snapshot_done, .rows_read = p->rows_read, .last_key = buf_slice(&p->progress)};
		t = &shared;
	}
	for (size_t i = 0; !r->shared && i < r->on->s->table_count; i++)
		if (r->on->s->tables[i].number == number && !r->on->s->tables[i].dropped)
			t = &r->on->s->tables[i];
	if (!t)
		return !json_is_true(json_object_get(want, "found")) || differ(r, "not found");
	if (!json_is_true(json_object_get(want, "found")))
		return differ(r, "found");
	if (t->snapshot_done != json_is_true(json_object_get(want, "snapshot_complete")))
		return differ(r, "snapshot_complete");
	if (!json_is_object(status))
		return true;
	const char *hex = text_of(status, "last_key");
	if (t->rows_read != number_of(json_object_get(status, "replicated_count")))
		return differ(r, "rows read: %llu", (unsigned long long)t->rows_read);
	if ((hex ? strlen(hex) / 2 : 0) != t->last_key.n)
		return differ(r, "last key of %zu bytes", t->last_key.n);
	return true;
}

/* The data of a stopped stream goes, and its record is reset. */
static bool do_terminate(struct run *r, json_t *step)
{
	struct compact_report report;
	int32_t id;
	char slot[64];
	(void)step;
	must(r, storage_stopped_stream(r->on->s, &id, slot, &r->err));
	if (id != r->on->id)
		return differ(r, "the stream is not stopped");
	storage_remove_stream(r->on->s, id);
	must(r, storage_compact(r->on->s, &(struct compact_options){.dropped = true}, &report, &r->err));
	return true;
}

/* Only stopped streams are cleared here: this one is stopped for the moment. */
static bool do_clear(struct run *r, json_t *step)
{
	shared_mark(r, "state = 'STOP'", NULL);
	bool ok = do_terminate(r, step);
	shared_mark(r, "state = 'ACTIVE'", NULL);
	return ok;
}

#endif
