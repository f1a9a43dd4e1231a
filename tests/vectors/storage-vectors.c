/*
 * storage-vectors: runs the storage scenarios (tests/data/vectors/storage/README.md) over the embedded store.
 *
 *   storage-vectors FOLDER [-v] [SCENARIO]
 *
 * The embedded store has one sync config at a time and numbers definitions, so bucket names compare without their number, and the
 * scenarios of whole-version deploys are not for it. What the replication engine does in Syncline (blocking until a snapshot is done,
 * merging of values that were not sent) is done here in the shortest way. Op ids are mapped: the same order, not the same numbers.
 *
 * Every place where the recorded answer is not the wanted one stands in `deviations`; a difference elsewhere fails, and so does a
 * deviation that is not one any more.
 */
#include <dirent.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "rules/rules.h"
#include "storage/codec.h"
#include "storage/digest.h"
#include "storage/internal.h"

#define MAX_ROW_BYTES (15u * 1024 * 1024)

/* ---- what is left out, and why ---- */

static const struct {
	const char *scenario; /* or its beginning, with a '*' */
	const char *why;
} not_applicable[] = {
        {"version-*", "whole-version deploys are for the shared layouts"},
        {"checkpoint-op-ids-across-streams", "whole-version deploys are for the shared layouts"},
        {"write-checkpoint-before-activation", "whole-version deploys are for the shared layouts"},
        {"write-checkpoint-custom", "custom write checkpoints are not stored here yet"},
        {"compact-*", "compaction is not a part of this storage yet"},
        {"checkpoint-error-report", "error reports belong to the replication engine"},
        {"checkpoint-resume-position", "the embedded store has an applied position instead of a resume position"},
        {"checkpoint-snapshot-table-rules", "which commits are visible is decided by the replication engine"},
        {"snapshot-skip-existing", "chunks are compared instead of skipped (interleaved-snapshot 5)"},
        {"data-raw-replica-ids", "replica ids of other kinds belong to sources that the embedded store does not have"},
};

static const struct {
	const char *scenario;
	int step; /* 0-based */
	const char *why;
} deviations[] = {
        {"data-insert-over-existing", 8, "an insert over a stored row is an update (storage-semantics 5.3)"},
        {"data-row-grows-too-large", 8, "a row that grows too large gets its REMOVEs (5.3)"},
        {"data-row-grows-too-large", 12, "a row that grows too large gets its REMOVEs (5.3)"},
        {"streams-one-row-both-kinds", 8, "op ids within one flush are given row by row, as MongoDB storage does (4)"},
        {"truncate-and-reinsert", 14, "a truncate takes the rows in another order (5.4: any)"},
        {"write-checkpoint-generated", 10,
         "a generated id never has a smaller head than those before it (checkpoint-requests 3)"},
        {"write-checkpoint-generated", 12,
         "a generated id never has a smaller head than those before it (checkpoint-requests 3)"},
        {"write-checkpoint-generated", 7, "an older, passed id while a newer one is pending (checkpoint-requests 3)"},
        {"write-checkpoint-retention", 16, "a generated id starts above a removed one (checkpoint-requests 5)"},
        {"write-checkpoint-supplied", 14, "an older, passed id while a newer one is pending (checkpoint-requests 3)"},
};

/* ---- a run ---- */

struct id_pair {
	uint64_t expected, actual;
};

struct run_table {
	char name[64];
	uint32_t number;
	bool complete_rows;
};

struct run {
	struct storage *s;
	struct plan *plan;
	struct log log;
	char folder[64];
	struct arena arena;
	struct error err;
	bool images, snapshot_done;
	bool has_last, has_before;
	uint64_t last_lsn, before_lsn;
	struct run_table tables[8];
	size_t table_count;
	struct id_pair ops[4096], checkpoints[256];
	size_t op_count, checkpoint_count;
	struct {
		char name[16], user[64];
		char checkpoint[32], id[32];
	} watches[4];
	size_t watch_count;
	bool dirty;
	size_t queued;      /* saves since the last flush: the recorded writer flushes by itself at 2000 */
	uint64_t final_lsn; /* of the scenario's last commit */
	char why[8192];     /* of the last difference */
};

static int64_t wall_offset;

static int64_t shifted_clock(void)
{
	return clock_wall_ms() + wall_offset;
}

static bool differ(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool differ(struct run *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(r->why, sizeof(r->why), format, args);
	va_end(args);
	return false;
}

static void must(struct run *r, bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "storage: %s\n", r->err.message);
	exit(1);
}

static const char *text_of(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static uint64_t lsn_of(const char *text)
{
	uint64_t lsn = 0;
	if (text && !lsn_parse(slice_cstr(text), &lsn)) {
		fprintf(stderr, "not a position: %s\n", text);
		exit(1);
	}
	return lsn;
}

static uint64_t number_of(json_t *v)
{
	uint64_t n = 0;
	if (json_is_string(v))
		slice_parse_u64(slice_cstr(json_string_value(v)), UINT64_MAX, &n);
	else
		n = (uint64_t)json_integer_value(v);
	return n;
}

/* ---- ids: the same order, not the same numbers ---- */

static bool pair_op(struct run *r, uint64_t expected, uint64_t actual)
{
	for (size_t i = 0; i < r->op_count; i++) {
		const struct id_pair *p = &r->ops[i];
		if ((p->expected < expected) != (p->actual < actual) || (p->expected == expected) != (p->actual == actual))
			return differ(r, "op %llu is where %llu was recorded: another order", (unsigned long long)actual,
			              (unsigned long long)expected);
	}
	if (r->op_count < sizeof(r->ops) / sizeof(*r->ops))
		r->ops[r->op_count++] = (struct id_pair){expected, actual};
	return true;
}

static bool pair_checkpoint(struct run *r, uint64_t expected, uint64_t actual)
{
	if (r->checkpoint_count < sizeof(r->checkpoints) / sizeof(*r->checkpoints))
		r->checkpoints[r->checkpoint_count++] = (struct id_pair){expected, actual};
	for (size_t i = 0; i < r->checkpoint_count; i++)
		for (size_t k = 0; k < r->op_count; k++)
			if ((r->ops[k].expected <= r->checkpoints[i].expected) != (r->ops[k].actual <= r->checkpoints[i].actual))
				return differ(r, "checkpoint %llu shows other operations than the recorded %llu",
				              (unsigned long long)r->checkpoints[i].actual,
				              (unsigned long long)r->checkpoints[i].expected);
	return true;
}

/* A recorded id as one of ours. */
static uint64_t translate(const struct run *r, uint64_t expected)
{
	uint64_t best = 0, actual = expected;
	for (size_t i = 0; i < r->op_count; i++)
		if (r->ops[i].expected <= expected && r->ops[i].expected >= best) {
			best = r->ops[i].expected;
			actual = r->ops[i].actual + (expected - best);
		}
	for (size_t i = 0; i < r->checkpoint_count; i++)
		if (r->checkpoints[i].expected == expected)
			actual = r->checkpoints[i].actual;
	return actual;
}

/* ---- values ---- */

static json_t *part(json_t *v, const char *key)
{
	return json_is_object(v) ? json_object_get(v, key) : NULL;
}

static struct value value_of(struct run *r, json_t *v)
{
	json_t *p;
	if (json_is_string(v))
		return value_text(slice_make(json_string_value(v), json_string_length(v)));
	if (json_is_null(v))
		return value_null();
	if ((p = part(v, "int")))
		return value_integer(strtoll(json_string_value(p), NULL, 10));
	if ((p = part(v, "real")))
		return value_real(json_number_value(p));
	if ((p = part(v, "hex"))) {
		size_t n = json_string_length(p) / 2;
		char *bytes = arena_bytes(&r->arena, n);
		for (size_t i = 0; i < n; i++) {
			unsigned byte;
			sscanf(json_string_value(p) + 2 * i, "%2x", &byte);
			bytes[i] = (char)byte;
		}
		return value_blob(slice_make(bytes, n));
	}
	if ((p = part(v, "repeat"))) {
		size_t n = (size_t)json_integer_value(json_array_get(p, 1));
		char *bytes = arena_bytes(&r->arena, n);
		memset(bytes, json_string_value(json_array_get(p, 0))[0], n);
		return value_text(slice_make(bytes, n));
	}
	return (struct value){.kind = VALUE_UNKNOWN};
}

static void bson_element(struct buf *b, const char *name, const struct value *v)
{
	static const uint8_t zero;
	uint8_t type = v->kind == VALUE_TEXT ? 0x02 : v->kind == VALUE_INTEGER ? 0x12 : v->kind == VALUE_REAL ? 0x01 : 0x0a;
	buf_putc(b, (char)type);
	buf_append(b, name, strlen(name) + 1);
	if (v->kind == VALUE_TEXT) {
		uint32_t n = (uint32_t)v->s.n + 1;
		buf_append(b, &n, 4);
		buf_slice_append(b, v->s);
		buf_append(b, &zero, 1);
	} else if (v->kind == VALUE_INTEGER) {
		buf_append(b, &v->i, 8);
	} else if (v->kind == VALUE_REAL) {
		buf_append(b, &v->r, 8);
	}
}

/* UUID version 5 of the BSON document of the key's columns (storage-semantics 3). */
static void key_uuid(struct run *r, json_t *key, uint8_t uuid[16])
{
	static const uint8_t namespace[16] = {0xa3, 0x96, 0xdd, 0x91, 0x09, 0xfc, 0x40, 0x17,
	                                      0xa2, 0x8d, 0x3d, 0xf7, 0x22, 0xf6, 0x51, 0xe9};
	struct buf b = {0};
	uint8_t hash[32];
	unsigned n;
	const char *name;
	json_t *v;
	buf_append(&b, namespace, 16);
	buf_append(&b, "\0\0\0\0", 4);
	json_object_foreach(key, name, v)
	{
		struct value x = value_of(r, v);
		bson_element(&b, name, &x);
	}
	buf_append(&b, "", 1);
	uint32_t size = (uint32_t)b.n - 16;
	memcpy(b.p + 16, &size, 4);
	EVP_Digest(b.p, b.n, hash, &n, EVP_sha1(), NULL);
	memcpy(uuid, hash, 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x50);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	buf_free(&b);
}

static struct row_key row_key_of(struct run *r, json_t *id)
{
	struct row_key k = {.bytes = {"", 0}};
	char *text = json_dumps(id, JSON_COMPACT | JSON_ENCODE_ANY);
	k.bytes = arena_copy(&r->arena, slice_cstr(text));
	free(text);
	if (part(id, "key")) {
		key_uuid(r, json_object_get(id, "key"), k.uuid);
	} else if (part(id, "uuid")) {
		const char *p = text_of(id, "uuid");
		for (int i = 0; i < 16; p += *p == '-')
			for (unsigned byte; i < 16 && *p != '-'; p += 2, i++) {
				sscanf(p, "%2x", &byte);
				k.uuid[i] = (uint8_t)byte;
			}
	}
	return k;
}

/* ---- writing ---- */

static struct run_table *table_named(struct run *r, const char *name)
{
	for (size_t i = 0; i < r->table_count; i++)
		if (strcmp(r->tables[i].name, name) == 0)
			return &r->tables[i];
	fprintf(stderr, "no table %s\n", name);
	exit(1);
}

static bool do_deploy(struct run *r, json_t *step)
{
	struct diagnostics d = {0};
	bool unchanged;
	r->plan = plan_compile(slice_cstr(text_of(step, "config")), SLICE("public"), &d);
	if (!r->plan)
		return differ(r, "the config does not compile: %.*s", SLICE_ARG(d.items[d.count - 1].message));
	diagnostics_free(&d);
	must(r, storage_deploy(r->s, r->plan, &unchanged, &r->err));
	return true;
}

static bool do_writer(struct run *r, json_t *step)
{
	json_t *images = json_object_get(step, "store_current_data");
	r->images = !images || json_is_true(images);
	return true;
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
	uint32_t *drop, before = r->s->state.last_table;
	must(r, storage_resolve_table(r->s, &t, &r->arena, &out, &drop, &drop_count, &r->err));
	if (out.number > before) { /* a new record: the scenario names its id */
		struct table_record *rec = &r->s->tables[r->s->table_count - 1];
		snprintf(rec->subkey_id, sizeof(rec->subkey_id), "%s", text_of(step, "new_id"));
		snprintf(out.subkey_id, sizeof(out.subkey_id), "%s", rec->subkey_id);
		names_set(&r->s->table_names, out.number, slice_cstr(rec->subkey_id));
		must(r, storage_table_progress(r->s, out.number, (struct slice){"", 0}, 0, &r->err));
	}
	struct run_table *k = &r->tables[r->table_count++];
	*k = (struct run_table){.number = out.number,
	                        .complete_rows = json_is_true(json_object_get(step, "sends_complete_rows"))};
	snprintf(k->name, sizeof(k->name), "%s", as ? as : name);
	for (size_t i = 0; i + 1 < r->table_count; i++)
		if (strcmp(r->tables[i].name, k->name) == 0) {
			r->tables[i] = *k;
			r->table_count--;
			break;
		}
	if (strcmp(out.subkey_id, text_of(want, "id")) != 0)
		return differ(r, "kept %s", out.subkey_id);
	if (json_array_size(json_object_get(want, "drop")) != drop_count)
		return differ(r, "%zu records to drop", drop_count);
	for (size_t i = 0; i < drop_count; i++) {
		bool found = false;
		for (size_t j = 0; j < drop_count; j++)
			found |= strcmp(json_string_value(json_array_get(json_object_get(want, "drop"), j)),
			                names_get(&r->s->table_names, drop[i]).p) == 0;
		if (!found)
			return differ(r, "drops another record");
	}
	return out.snapshot_done == json_is_true(json_object_get(want, "snapshot_complete")) || differ(r, "snapshot_complete");
}

static void collect_contributions(struct run *r, const struct bound_table *b, const struct value *row,
                                  struct row_contributions *c)
{
	struct evaluation e;
	bound_evaluate(b, row, &r->arena, &e);
	struct stored_plan *sp = storage_active_plan(r->s);
	if (!sp)
		sp = storage_pending_plan(r->s);
	struct put_entry *puts = arena_array(&r->arena, struct put_entry, e.entry_count);
	struct lookup_entry *lookups = arena_array(&r->arena, struct lookup_entry, e.lookup_count);
	for (size_t i = 0; i < e.entry_count; i++) {
		const struct row_entry *x = &e.entries[i];
		puts[i] = (struct put_entry){.definition = sp->definitions[x->definition].number,
		                             .keys = x->keys,
		                             .object_type = x->object_type,
		                             .object_id = x->object_id,
		                             .data = x->data};
		put_entry_digest(&puts[i]);
	}
	for (size_t i = 0; i < e.lookup_count; i++)
		lookups[i] = (struct lookup_entry){sp->definitions[e.lookups[i].definition].number, e.lookups[i].key,
		                                   e.lookups[i].results};
	*c = (struct row_contributions){puts, e.entry_count, lookups, e.lookup_count};
	stored_plan_unref(sp);
}

/* The row with what was not sent taken from the stored image; the image is the row in the scenario's own notation. */
static json_t *merged_row(struct run *r, struct run_table *t, json_t *after, const struct row_key *old)
{
	struct stored_row stored;
	json_t *row = json_copy(after), *v;
	const char *name;
	must(r, storage_read_row(r->s, t->number, old, &r->arena, &stored, &r->err));
	json_t *image = stored.found && stored.image.n ? json_loadb(stored.image.p, stored.image.n, 0, NULL) : NULL;
	json_object_foreach(after, name, v)
	{
		json_t *kept = image ? json_object_get(image, name) : NULL;
		if (part(v, "toast") && kept)
			json_object_set(row, name, kept);
	}
	json_decref(image);
	return row;
}

static void save_row(struct run *r, struct run_table *t, const char *tag, json_t *after, struct row_key key, struct row_key *old)
{
	bool images = r->images && !t->complete_rows, unknown = false;
	json_t *row = images && strcmp(tag, "update") == 0 ? merged_row(r, t, after, old ? old : &key) : json_incref(after);
	size_t count = json_object_size(row), at = 0, bytes = 0;
	struct slice *names = arena_array(&r->arena, struct slice, count);
	struct value *values = arena_array(&r->arena, struct value, count);
	const char *name;
	json_t *v;
	json_object_foreach(row, name, v)
	{
		names[at] = slice_cstr(name);
		values[at] = value_of(r, v);
		if (values[at].kind == VALUE_UNKNOWN && !images)
			values[at].kind = VALUE_ABSENT;
		unknown |= values[at].kind == VALUE_UNKNOWN;
		bytes += values[at].kind == VALUE_TEXT || values[at].kind == VALUE_BLOB ? values[at].s.n : 8;
		at++;
	}
	bool too_large = images && bytes > MAX_ROW_BYTES;
	char *image = images && !too_large ? json_dumps(row, JSON_COMPACT) : NULL;
	struct slice kept = image ? slice_cstr(image) : (struct slice){NULL, 0};
	if (unknown) {
		must(r, storage_write_incomplete_row(r->s, t->number, &key, old, kept, &r->err));
	} else {
		struct row_contributions c = {NULL, 0, NULL, 0};
		struct relation_columns columns = {SLICE("default"), SLICE("public"), slice_cstr(t->name), names, count};
		struct bound_table *b = too_large ? NULL : plan_bind(r->plan, &columns);
		if (b)
			collect_contributions(r, b, values, &c);
		must(r, storage_write_row(r->s, t->number, &key, old, &c, kept, ROW_STREAM, &r->err));
		bound_table_free(b);
	}
	free(image);
	json_decref(row);
	if (++r->queued == 2000) {
		must(r, storage_flush(r->s, &r->err));
		r->queued = 0;
	}
}

static bool do_save(struct run *r, json_t *step)
{
	struct run_table *t = table_named(r, text_of(step, "table"));
	const char *tag = text_of(step, "tag");
	json_t *before_id = json_object_get(step, "before_id"), *after_id = json_object_get(step, "after_id");
	if (!plan_uses_table(r->plan, SLICE("default"), SLICE("public"), slice_cstr(t->name)))
		return true;
	struct row_key old = {.bytes = {NULL, 0}}, key = {.bytes = {NULL, 0}};
	if (before_id)
		old = row_key_of(r, before_id);
	r->dirty = true;
	if (strcmp(tag, "delete") == 0) {
		must(r, storage_delete_row(r->s, t->number, &old, &r->err));
		return true;
	}
	key = row_key_of(r, after_id);
	save_row(r, t, tag, json_object_get(step, "after"), key, before_id ? &old : NULL);
	return true;
}

static bool do_save_many(struct run *r, json_t *step)
{
	struct run_table *t = table_named(r, text_of(step, "table"));
	json_int_t from = json_integer_value(json_object_get(step, "from")), to = json_integer_value(json_object_get(step, "to"));
	for (json_int_t i = from; i <= to; i++) {
		json_t *row = json_object(), *v;
		const char *name;
		char id[64], number[32];
		snprintf(number, sizeof(number), "%lld", (long long)i);
		json_object_foreach(json_object_get(step, "after"), name, v)
		{
			const char *text = json_string_value(v), *mark = text ? strstr(text, "{i}") : NULL;
			if (mark) {
				char out[256];
				snprintf(out, sizeof(out), "%.*s%s%s", (int)(mark - text), text, number, mark + 3);
				json_object_set_new(row, name, json_string(out));
			} else {
				json_object_set(row, name, v);
			}
		}
		snprintf(id, sizeof(id), "%s%s", text_of(step, "id_prefix"), number);
		json_object_set_new(row, "id", json_string(id));
		json_t *key = json_pack("{s:{s:s}}", "key", "id", id);
		save_row(r, t, "insert", row, row_key_of(r, key), NULL);
		json_decref(key);
		json_decref(row);
	}
	r->dirty = true;
	return true;
}

static bool do_flush(struct run *r, json_t *step)
{
	json_t *op = json_object_get(json_object_get(step, "expect"), "flushed_op");
	bool was = r->dirty;
	/* A flush is the middle of a transaction, which ends with the last commit of the scenario. */
	storage_in_transaction(r->s, (struct position){0, r->final_lsn});
	must(r, storage_flush(r->s, &r->err));
	r->dirty = false;
	r->queued = 0;
	return json_is_null(op) == !was || differ(r, was ? "something was flushed" : "nothing was flushed");
}

static bool do_commit(struct run *r, json_t *step)
{
	uint64_t lsn = lsn_of(text_of(step, "lsn"));
	json_t *want = json_object_get(step, "expect"), *empty = json_object_get(step, "create_empty");
	bool can = r->snapshot_done && (!r->has_last || r->last_lsn <= lsn) && (!r->has_before || r->before_lsn <= lsn);
	bool create_empty = !empty || json_is_true(empty), durable;
	struct checkpoint c = storage_checkpoint(r->s);
	bool created = can && (create_empty || r->s->state.op_seq != c.op_id);
	if (created) /* a position alone is a checkpoint only if somebody waits for it */
		storage_want_position(r->s, (struct position){0, lsn});
	if (created || !can || r->dirty)
		must(r, storage_commit(r->s, (struct position){0, lsn}, can, &durable, &r->err));
	r->dirty = false;
	r->queued = 0;
	if (created) {
		r->has_last = true;
		r->last_lsn = lsn;
		c = storage_checkpoint(r->s);
		if (!c.valid || c.position.lsn != lsn)
			return differ(r, "no checkpoint was made");
	}
	if (can == json_is_true(json_object_get(want, "blocked")))
		return differ(r, "blocked");
	return created == json_is_true(json_object_get(want, "created")) || differ(r, "created");
}

static bool do_mark_all_snapshot_done(struct run *r, json_t *step)
{
	const char *before = text_of(step, "no_checkpoint_before");
	struct stored_plan *p = storage_pending_plan(r->s);
	r->snapshot_done = true;
	r->has_before = before != NULL;
	r->before_lsn = lsn_of(before);
	for (size_t i = 0; p && i < p->count; i++)
		must(r, storage_definition_ready(r->s, p->definitions[i].number, &r->err));
	stored_plan_unref(p);
	must(r, storage_activate_pending(r->s, &r->err));
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
	must(r, storage_table_progress(r->s, table_named(r, text_of(step, "table"))->number, slice_make(bytes, n),
	                               number_of(json_object_get(step, "replicated_count")), &r->err));
	return true;
}

static bool do_table_done(struct run *r, json_t *step)
{
	json_t *tables = json_object_get(step, "tables");
	for (size_t i = 0; i < json_array_size(tables); i++)
		must(r,
		     storage_table_done(r->s, table_named(r, json_string_value(json_array_get(tables, i)))->number, 1, &r->err));
	return true;
}

static bool do_table_status(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *status = json_object_get(want, "snapshot_status");
	uint32_t number = table_named(r, text_of(step, "table"))->number;
	const struct table_record *t = NULL;
	for (size_t i = 0; i < r->s->table_count; i++)
		if (r->s->tables[i].number == number && !r->s->tables[i].dropped)
			t = &r->s->tables[i];
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

static bool do_truncate(struct run *r, json_t *step)
{
	json_t *tables = json_object_get(step, "tables"), *want = json_object_get(step, "expect");
	uint64_t all = 0, removed;
	bool drop = strcmp(text_of(step, "do"), "drop") == 0;
	for (size_t i = 0; i < json_array_size(tables); i++) {
		uint32_t number = table_named(r, json_string_value(json_array_get(tables, i)))->number;
		must(r, storage_truncate_table(r->s, number, &removed, &r->err));
		all += removed;
		if (drop)
			must(r, storage_drop_table(r->s, number, &r->err));
	}
	r->dirty = true;
	return !want || (all > 0) == json_is_true(json_object_get(want, "flushed")) ||
	       differ(r, "%llu rows went", (unsigned long long)all);
}

/* ---- reading ---- */

static struct slice without_number(const char *name)
{
	const char *p = name;
	while (*p >= '0' && *p <= '9')
		p++;
	return slice_cstr(*p == '#' && p > name ? p + 1 : name);
}

/* Definition number and keys of a bucket name; 0: no such definition. */
static uint32_t split_name(struct run *r, const char *full, struct slice *keys)
{
	struct slice name = without_number(full);
	for (size_t i = 0; i < r->s->definition_count; i++) {
		const struct definition_record *d = &r->s->definitions[i];
		if (d->kind == DEFINITION_BUCKETS && slice_starts(name, d->name) && name.n > d->name.n &&
		    name.p[d->name.n] == '[') {
			*keys = slice_drop(name, d->name.n);
			return d->number;
		}
	}
	return 0;
}

static size_t utf16_length(struct slice text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = (uint8_t)text.p[i];
		n += (c & 0xc0) != 0x80 ? 1 + (c >= 0xf0) : 0;
	}
	return n;
}

static json_t *shown_data(struct slice data)
{
	size_t units = utf16_length(data);
	if (units <= 300)
		return json_stringn(data.p, data.n);
	uint8_t full[32];
	char hex[65];
	sha256_slices(&data, 1, full);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", full[i]);
	return json_pack("{s:I,s:s}", "length", (json_int_t)units, "sha256", hex);
}

static json_t *op_json(const struct op_view *op)
{
	static const char *const kinds[] = {"PUT", "REMOVE", "MOVE", "CLEAR"};
	char subkey[128], uuid[UUID_TEXT];
	uuid_text(op->subkey_uuid, uuid);
	snprintf(subkey, sizeof(subkey), "%s/%.*s", op->subkey_table, UUID_TEXT, uuid);
	json_t *o = json_pack("{s:I,s:s,s:s%,s:s%,s:s,s:I}", "op_id", (json_int_t)op->op_id, "op", kinds[op->kind], "object_type",
	                      op->object_type.p, op->object_type.n, "object_id", op->object_id.p, op->object_id.n, "subkey",
	                      subkey, "checksum", (json_int_t)op->checksum);
	if (op->kind == OP_PUT)
		json_object_set_new(o, "data", shown_data(op->data));
	return o;
}

/* The chunk being built; size is counted as the reference counts it (storage-semantics 8.1). */
struct chunks {
	json_t *all;
	json_t *open;
	size_t size, rows;
};

static void add_op(struct chunks *c, const char *bucket, uint64_t *after, const struct op_view *op, size_t chunk_limit)
{
	size_t n = op->kind == OP_PUT ? utf16_length(op->data) : 0;
	bool same = c->open && strcmp(text_of(c->open, "bucket"), bucket) == 0;
	if (!same || c->size >= chunk_limit || c->size + n > chunk_limit) {
		if (same)
			json_object_set_new(c->open, "has_more", json_true());
		c->open = json_pack("{s:s,s:I,s:b,s:[]}", "bucket", bucket, "after", (json_int_t)*after, "has_more", 0, "data");
		json_array_append_new(c->all, c->open);
		c->size = 0;
	}
	c->size += n;
	c->rows++;
	*after = op->op_id;
	json_object_set_new(c->open, "next_after", json_integer((json_int_t)op->op_id));
	json_array_append_new(json_object_get(c->open, "data"), op_json(op));
}

static json_t *read_chunks(struct run *r, json_t *step, uint64_t at)
{
	json_t *buckets = json_object_get(step, "buckets"), *v;
	size_t limit = (v = json_object_get(step, "limit")) ? (size_t)json_integer_value(v) : 1000;
	size_t chunk_limit = (v = json_object_get(step, "chunk_limit_bytes")) ? (size_t)json_integer_value(v) : 1048576;
	struct chunks c = {.all = json_array()};
	struct storage_reader *reader = storage_read_begin(r->s, &r->err);
	must(r, reader != NULL);
	const char *names[64];
	size_t count = json_array_size(buckets);
	for (size_t i = 0; i < count; i++)
		names[i] = json_string_value(json_array_get(json_array_get(buckets, i), 0));
	for (size_t done = 0; done < count && c.rows < limit; done++) {
		size_t next = count;
		for (size_t i = 0; i < count; i++) /* in order of names, as the recorded answers */
			if (names[i] && (next == count || strcmp(names[i], names[next]) < 0))
				next = i;
		struct slice keys;
		uint32_t definition = split_name(r, names[next], &keys);
		uint64_t after = translate(r, number_of(json_array_get(json_array_get(buckets, next), 1)));
		uint32_t bucket = definition ? reader_bucket(reader, definition, keys) : 0;
		if (number_of(json_array_get(json_array_get(buckets, next), 1)) == 0)
			after = 0;
		struct op_cursor *cursor = reader_ops(reader, bucket, after, at, &r->err);
		struct op_view op;
		int got = 0;
		while (bucket && c.rows < limit && (got = op_cursor_next(cursor, &op, &r->err)) > 0)
			add_op(&c, names[next], &after, &op, chunk_limit);
		must(r, got >= 0);
		op_cursor_close(cursor);
		names[next] = NULL;
	}
	if (c.open && c.rows >= limit)
		json_object_set_new(c.open, "has_more", json_true());
	storage_read_end(reader);
	return c.all;
}

static bool same_text(json_t *a, json_t *b, const char *key)
{
	json_t *x = json_object_get(a, key), *y = json_object_get(b, key);
	return (!x && !y) || json_equal(x, y);
}

static bool compare_op(struct run *r, json_t *have, json_t *want)
{
	static const char *const fields[] = {"op", "object_type", "object_id", "subkey", "data"};
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (!same_text(have, want, fields[i])) {
			char *a = json_dumps(have, JSON_COMPACT), *b = json_dumps(want, JSON_COMPACT);
			differ(r, "%s: got %s, want %s", fields[i], a, b);
			free(a);
			free(b);
			return false;
		}
	if ((uint32_t)json_integer_value(json_object_get(have, "checksum")) !=
	    (uint32_t)json_integer_value(json_object_get(want, "checksum")))
		return differ(r, "checksum of an operation");
	return pair_op(r, number_of(json_object_get(want, "op_id")), number_of(json_object_get(have, "op_id")));
}

static bool compare_chunk(struct run *r, json_t *have, json_t *want)
{
	json_t *a = json_object_get(have, "data"), *b = json_object_get(want, "data");
	if (json_is_true(json_object_get(have, "has_more")) != json_is_true(json_object_get(want, "has_more")))
		return differ(r, "has_more of %s", text_of(want, "bucket"));
	if (json_is_object(b)) { /* a summary */
		size_t n = json_array_size(a);
		return (n == (size_t)json_integer_value(json_object_get(b, "count")) &&
		        pair_op(r, number_of(json_object_get(b, "first")),
		                number_of(json_object_get(json_array_get(a, 0), "op_id"))) &&
		        pair_op(r, number_of(json_object_get(b, "last")),
		                number_of(json_object_get(json_array_get(a, n - 1), "op_id")))) ||
		       differ(r, "%zu operations in a chunk of %s", n, text_of(want, "bucket"));
	}
	if (json_array_size(a) != json_array_size(b))
		return differ(r, "%zu operations instead of %zu in %s", json_array_size(a), json_array_size(b),
		              text_of(want, "bucket"));
	for (size_t i = 0; i < json_array_size(a); i++)
		if (!compare_op(r, json_array_get(a, i), json_array_get(b, i)))
			return false;
	uint64_t after = number_of(json_object_get(want, "after"));
	if (translate(r, after) != number_of(json_object_get(have, "after")) && after)
		return differ(r, "after");
	return true;
}

static uint64_t checkpoint_of(struct run *r, json_t *step)
{
	json_t *at = json_object_get(step, "at");
	return at ? translate(r, number_of(at)) : storage_checkpoint(r->s).op_id;
}

static bool do_read(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "chunks");
	json_t *have = read_chunks(r, step, checkpoint_of(r, step));
	bool ok = json_array_size(have) == json_array_size(want);
	if (!ok) {
		char *text = json_dumps(have, JSON_COMPACT);
		differ(r, "%zu chunks instead of %zu: %.2000s", json_array_size(have), json_array_size(want), text);
		free(text);
	}
	bool used[64] = {false};
	for (size_t i = 0; ok && i < json_array_size(want); i++) {
		json_t *w = json_array_get(want, i), *h = NULL;
		for (size_t k = 0; !h && k < json_array_size(have); k++)
			if (!used[k] && slice_eq(without_number(text_of(json_array_get(have, k), "bucket")),
			                         without_number(text_of(w, "bucket")))) {
				used[k] = true;
				h = json_array_get(have, k);
			}
		ok = h ? compare_chunk(r, h, w) : differ(r, "nothing for %s", text_of(w, "bucket"));
	}
	json_decref(have);
	return ok;
}

static bool do_checksums(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "checksums"), *w;
	uint64_t at = checkpoint_of(r, step);
	size_t i;
	json_array_foreach(want, i, w)
	{
		struct bucket_checksum sum;
		struct slice keys;
		uint32_t definition = split_name(r, text_of(w, "bucket"), &keys);
		struct storage_reader *reader = storage_read_begin(r->s, &r->err);
		must(r, reader_checksum(reader, definition ? reader_bucket(reader, definition, keys) : 0, at, &sum, &r->err));
		storage_read_end(reader);
		if ((int32_t)sum.checksum != (int32_t)json_integer_value(json_object_get(w, "checksum")) ||
		    sum.count != number_of(json_object_get(w, "count")))
			return differ(r, "%s: %d, %llu operations", text_of(w, "bucket"), (int32_t)sum.checksum,
			              (unsigned long long)sum.count);
	}
	return true;
}

static void lookup_key(struct run *r, json_t *lookup, struct buf *out)
{
	buf_putc(out, '[');
	for (size_t i = 2; i < json_array_size(lookup); i++) {
		struct value v = value_of(r, json_array_get(lookup, i));
		if (i > 2)
			buf_putc(out, ',');
		value_lookup_key(out, &v);
	}
	buf_putc(out, ']');
}

static uint32_t lookup_definition(struct run *r, json_t *lookup)
{
	char name[128];
	snprintf(name, sizeof(name), "%s#%s", json_string_value(json_array_get(lookup, 0)),
	         json_string_value(json_array_get(lookup, 1)));
	for (size_t i = 0; i < r->s->definition_count; i++)
		if (r->s->definitions[i].kind == DEFINITION_LOOKUP && slice_eq(r->s->definitions[i].name, slice_cstr(name)))
			return r->s->definitions[i].number;
	return 0;
}

/* Results as a sorted array of texts, so that order means nothing. */
static int compare_texts(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool compare_results(struct run *r, const struct slice *results, size_t count, json_t *rows)
{
	if (count != json_array_size(rows))
		return differ(r, "%zu results instead of %zu", count, json_array_size(rows));
	char **have = xcalloc(count, sizeof(*have)), **want = xcalloc(count, sizeof(*want));
	bool ok = true;
	for (size_t i = 0; i < count; i++) {
		have[i] = xstrdup(results[i]);
		json_t *plain = json_object(), *v;
		const char *name;
		struct buf text = {0};
		/* The scenario writes values in its own notation. */
		buf_putc(&text, '{');
		json_object_foreach(json_array_get(rows, i), name, v)
		{
			struct value x = value_of(r, v);
			if (text.n > 1)
				buf_putc(&text, ',');
			json_append_string(&text, slice_cstr(name));
			buf_putc(&text, ':');
			value_json(&text, &x);
		}
		buf_putc(&text, '}');
		want[i] = xstrdup(buf_slice(&text));
		buf_free(&text);
		json_decref(plain);
	}
	qsort(have, count, sizeof(*have), compare_texts);
	qsort(want, count, sizeof(*want), compare_texts);
	for (size_t i = 0; ok && i < count; i++)
		ok = strcmp(have[i], want[i]) == 0 || differ(r, "result %s instead of %s", have[i], want[i]);
	for (size_t i = 0; i < count; i++) {
		free(have[i]);
		free(want[i]);
	}
	free(have);
	free(want);
	return ok;
}

static bool do_parameters(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect"), *lookups = json_object_get(step, "lookups"), *one,
	       *limit_of = json_object_get(step, "limit");
	uint64_t at = checkpoint_of(r, step);
	size_t limit = limit_of ? (size_t)json_integer_value(limit_of) : 1000, total = 0, i;
	bool ok = true;
	struct storage_reader *reader = storage_read_begin(r->s, &r->err);
	json_array_foreach(lookups, i, one)
	{
		struct buf key = {0};
		const struct slice *results;
		size_t count;
		lookup_key(r, one, &key);
		must(r,
		     reader_lookup(reader, lookup_definition(r, one), buf_slice(&key), at, &r->arena, &results, &count, &r->err));
		buf_free(&key);
		total += count;
		if (!json_object_get(want, "error"))
			ok = ok && compare_results(r, results, count,
			                           json_object_get(json_array_get(json_object_get(want, "results"), i), "rows"));
	}
	storage_read_end(reader);
	if (json_object_get(want, "error"))
		return total > limit || differ(r, "%zu results are within the limit", total);
	return ok;
}

static bool do_checkpoint(struct run *r, json_t *step)
{
	json_t *want = json_object_get(step, "expect");
	struct checkpoint c = storage_checkpoint(r->s);
	const char *lsn = text_of(want, "lsn");
	if (c.valid != (lsn != NULL) || (lsn && lsn_of(lsn) != c.position.lsn))
		return differ(r, "at %llx", (unsigned long long)c.position.lsn);
	return pair_checkpoint(r, number_of(json_object_get(want, "checkpoint")), c.op_id);
}

/* ---- write checkpoints ---- */

static struct user_key user_of(const char *name)
{
	return (struct user_key){slice_cstr(name), {NULL, 0}};
}

static bool do_request_checkpoints(struct run *r, json_t *step)
{
	json_t *requests = json_object_get(step, "requests"), *want = json_object_get(step, "expect"), *v;
	size_t count = json_array_size(requests), i;
	struct checkpoint_request *list = arena_array(&r->arena, struct checkpoint_request, count + 1);
	uint64_t head = 0;
	json_array_foreach(requests, i, v)
	{
		list[i] = (struct checkpoint_request){.user = user_of(text_of(v, "user")),
		                                      .id = number_of(json_object_get(v, "id"))};
		head = lsn_of(text_of(v, "head"));
	}
	bool ok = storage_request_checkpoints(r->s, list, count, true, (struct position){0, head}, &r->err);
	if (json_object_get(want, "error"))
		return !ok || differ(r, "no error");
	must(r, ok);
	const char *user;
	json_object_foreach(json_object_get(want, "ids"), user,
	                    v) for (i = 0; i < count;
	                            i++) if (slice_eq(list[i].user.subject, slice_cstr(user)) &&
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
	struct user_key u = user_of(user);
	return storage_write_checkpoint(r->s, &u, (struct position){0, lsn});
}

static bool do_last_write_checkpoint(struct run *r, json_t *step)
{
	json_t *head = json_object_get(step, "head"), *id = json_object_get(json_object_get(step, "expect"), "id");
	uint64_t have = json_is_string(head) ? acknowledged(r, text_of(step, "user"), lsn_of(json_string_value(head))) : 0;
	return have == number_of(id) || differ(r, "%llu", (unsigned long long)have);
}

static bool with_record(struct run *r, const char *user, struct user_record *u, struct buf *key, bool store)
{
	const struct backend_ops *ops = r->s->backend->ops;
	struct requests_txn *t;
	struct slice record;
	struct user_key k = user_of(user);
	must(r, ops->requests_begin(r->s->backend, store, &t, &r->err));
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
	if (with_record(r, text_of(step, "user"), &u, &key, false) && u.stamped) {
		u.stamp_ms -= json_integer_value(json_object_get(step, "minutes")) * 60000;
		with_record(r, text_of(step, "user"), &u, &key, true);
	}
	buf_free(&key);
	return true;
}

static bool do_compact(struct run *r, json_t *step)
{
	json_t *minutes = json_object_get(step, "retention_minutes");
	if (minutes) {
		r->s->retention_ms = json_integer_value(minutes) * 60000;
		must(r, storage_expire_requests(r->s, &r->err));
	}
	return true;
}

/* The record of the shared tables is the newest association. */
static bool do_write_checkpoints(struct run *r, json_t *step)
{
	json_t *want = json_object_get(json_object_get(step, "expect"), "managed"), *v;
	size_t i;
	struct buf key = {0};
	bool ok = true;
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
	return ok;
}

static bool do_watch(struct run *r, json_t *step)
{
	json_t *event = json_object_get(json_object_get(step, "expect"), "event");
	bool first = strcmp(text_of(step, "do"), "watch") == 0;
	const char *name = text_of(step, first ? "as" : "watch");
	struct checkpoint c = storage_checkpoint(r->s);
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

static bool do_nothing(struct run *r, json_t *step)
{
	(void)r;
	(void)step;
	return true;
}

/* do_nothing: the form of the shared layouts, or the replication engine's. */
static const struct {
	const char *name;
	bool (*run)(struct run *r, json_t *step);
} steps[] = {{"deploy", do_deploy},
             {"writer", do_writer},
             {"close_writer", do_nothing},
             {"resolve_table", do_resolve_table},
             {"save", do_save},
             {"save_many", do_save_many},
             {"flush", do_flush},
             {"commit", do_commit},
             {"keepalive", do_commit},
             {"mark_all_snapshot_done", do_mark_all_snapshot_done},
             {"mark_table_snapshot_done", do_table_done},
             {"table_progress", do_table_progress},
             {"table_status", do_table_status},
             {"truncate", do_truncate},
             {"drop", do_truncate},
             {"read", do_read},
             {"checksums", do_checksums},
             {"parameters", do_parameters},
             {"checkpoint", do_checkpoint},
             {"request_checkpoints", do_request_checkpoints},
             {"last_write_checkpoint", do_last_write_checkpoint},
             {"age_requests", do_age_requests},
             {"compact", do_compact},
             {"write_checkpoints", do_write_checkpoints},
             {"custom_write_checkpoint", do_nothing},
             {"watch", do_watch},
             {"watch_next", do_watch},
             {"missing", do_nothing},
             {"current_data", do_nothing},
             {"counts", do_nothing},
             {"streams", do_nothing},
             {"status", do_nothing}};

/* ---- scenarios ---- */

static const char *why_not(const char *scenario)
{
	for (size_t i = 0; i < sizeof(not_applicable) / sizeof(*not_applicable); i++) {
		const char *name = not_applicable[i].scenario, *star = strchr(name, '*');
		if (star ? strncmp(name, scenario, (size_t)(star - name)) == 0 : strcmp(name, scenario) == 0)
			return not_applicable[i].why;
	}
	return NULL;
}

static const char *deviation(const char *scenario, int step)
{
	for (size_t i = 0; i < sizeof(deviations) / sizeof(*deviations); i++)
		if (deviations[i].step == step && strcmp(deviations[i].scenario, scenario) == 0)
			return deviations[i].why;
	return NULL;
}

static void open_run(struct run *r)
{
	snprintf(r->folder, sizeof(r->folder), "%s/syncline-vectors-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(r->folder)) {
		perror(r->folder);
		exit(1);
	}
	r->log = (struct log){.level = LOG_ERROR, .fd = 2};
	struct storage_options o = {
	        .path = slice_cstr(r->folder), .map_size = (uint64_t)1 << 30, .request_retention_ms = 3600000, .log = &r->log};
	r->s = storage_open_lmdb(&o, &r->err);
	must(r, r->s != NULL);
	r->s->wall_ms = shifted_clock;
	r->images = true;
}

static void close_run(struct run *r)
{
	static const char *const files[] = {"data.mdb", "data.mdb-lock", "requests.mdb", "requests.mdb-lock", "lock"};
	char path[128];
	storage_close(r->s);
	plan_unref(r->plan);
	arena_free(&r->arena);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", r->folder, files[i]);
		unlink(path);
	}
	rmdir(r->folder);
}

static bool run_step(struct run *r, json_t *step)
{
	const char *name = text_of(step, "do");
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (strcmp(steps[i].name, name) == 0)
			return steps[i].run(r, step);
	return differ(r, "unknown step %s", name);
}

static bool run_scenario(const char *name, json_t *scenario, bool verbose)
{
	struct run *r = xcalloc(1, sizeof(*r));
	json_t *step;
	size_t i;
	bool ok = true;
	open_run(r);
	json_array_foreach(json_object_get(scenario, "steps"), i, step) if (strcmp(text_of(step, "do"), "commit") == 0)
	        r->final_lsn = lsn_of(text_of(step, "lsn"));
	json_array_foreach(json_object_get(scenario, "steps"), i, step)
	{
		const char *allowed = deviation(name, (int)i);
		bool same = run_step(r, step);
		if (same && allowed) {
			printf("FAILED %s step %zu (%s): listed as a deviation, but it is none\n", name, i, text_of(step, "do"));
			ok = false;
		} else if (!same && !allowed) {
			printf("FAILED %s step %zu (%s): %s\n", name, i, text_of(step, "do"), r->why);
			ok = false;
		} else if (!same && verbose) {
			printf("  %s step %zu: %s\n", name, i, allowed);
		}
	}
	close_run(r);
	free(r);
	return ok;
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int passed = 0, failed = 0, skipped = 0;
	bool verbose = argc > 2 && strcmp(argv[2], "-v") == 0;
	const char *only = argc > 2 + verbose ? argv[2 + verbose] : NULL;
	int count = argc > 1 ? scandir(argv[1], &entries, NULL, alphasort) : -1;
	if (count < 0) {
		fprintf(stderr, "usage: storage-vectors FOLDER [-v] [SCENARIO]\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		char path[4096], name[256];
		struct slice file = slice_cstr(entries[i]->d_name);
		snprintf(name, sizeof(name), "%.*s", (int)(file.n > 5 ? file.n - 5 : 0), file.p);
		if (slice_ends(file, SLICE(".json")) && (!only || strcmp(only, name) == 0)) {
			snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
			json_t *scenario = json_load_file(path, JSON_ALLOW_NUL, NULL);
			const char *why = why_not(name);
			if (!scenario) {
				printf("FAILED %s: not JSON\n", name);
				failed++;
			} else if (why) {
				if (verbose)
					printf("  %s: not applicable: %s\n", name, why);
				skipped++;
			} else if (run_scenario(name, scenario, verbose)) {
				passed++;
			} else {
				failed++;
			}
			json_decref(scenario);
		}
		free(entries[i]);
	}
	free(entries);
	printf("%d passed, %d failed, %d not applicable\n", passed, failed, skipped);
	return failed > 0;
}
