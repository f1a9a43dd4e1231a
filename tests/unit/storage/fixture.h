/*
 * fixture.h: a store in a folder of its own, a plan without the rules layer, and short ways to write rows and read them back.
 *
 * The plan functions that storage calls are defined here, so these tests do not depend on the compiler of sync configs: a text of
 * lines "name=content" makes bucket definitions, "?name=content" lookup definitions, "!name=content" an event.
 */
#ifndef TESTS_STORAGE_FIXTURE_H
#define TESTS_STORAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/internal.h"
#include "storage/storage.h"

#define UNUSED __attribute__((unused))

/* ---- plans ---- */

struct plan {
	int refs;
	char *text;
	struct definition definitions[16];
	size_t count;
	struct slice events;
};

struct plan *plan_ref(struct plan *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_SEQ_CST);
	return p;
}

void plan_unref(struct plan *p)
{
	if (p && __atomic_sub_fetch(&p->refs, 1, __ATOMIC_SEQ_CST) == 0) {
		free(p->text);
		free(p);
	}
}

struct slice plan_text(const struct plan *p)
{
	return slice_cstr(p->text);
}

size_t plan_definition_count(const struct plan *p)
{
	return p->count;
}

const struct definition *plan_definition(const struct plan *p, uint32_t index)
{
	return &p->definitions[index];
}

bool plan_write_checkpoint_events(const struct plan *p, uint8_t hash[32])
{
	if (!p->events.p)
		return false;
	sha256_slices(&p->events, 1, hash);
	return true;
}

UNUSED static struct plan *make_plan(const char *text)
{
	struct plan *p = xcalloc(1, sizeof(*p));
	p->refs = 1;
	p->text = xstrdup(slice_cstr(text));
	for (char *line = p->text; *line;) {
		size_t n = strcspn(line, "\n");
		if (line[0] == '!') {
			p->events = slice_make(line, n);
			line += n + (line[n] == '\n');
			continue;
		}
		struct definition *d = &p->definitions[p->count++];
		size_t name = strcspn(line, "=");
		d->kind = line[0] == '?' ? DEFINITION_LOOKUP : DEFINITION_BUCKETS;
		d->name = slice_make(line, name);
		d->content = slice_make(line + name + 1, n - name - 1);
		sha256_slices(&d->content, 1, d->hash);
		line += n + (line[n] == '\n');
	}
	return p;
}

/* ---- the store ---- */

struct fixture {
	char folder[64];
	struct storage *s;
	struct arena arena;
	struct error err;
	struct log log;
	uint64_t lsn; /* of the last commit */
	/* news since the last look */
	size_t news_count;
	bool everything;
	struct checkpoint shown;
	uint32_t buckets[256];
	size_t bucket_count;
	uint64_t lookups[256];
	size_t lookup_count;
	struct buf users; /* subject[/client], space */
};

UNUSED static void note_news(void *ctx, const struct storage_news *n)
{
	struct fixture *f = ctx;
	f->news_count++;
	f->shown = n->checkpoint;
	f->everything |= n->everything;
	for (size_t i = 0; i < n->bucket_count && f->bucket_count < 256; i++)
		f->buckets[f->bucket_count++] = n->buckets[i];
	for (size_t i = 0; i < n->lookup_count && f->lookup_count < 256; i++)
		f->lookups[f->lookup_count++] = n->lookups[i];
	for (size_t i = 0; i < n->user_count; i++) {
		buf_slice_append(&f->users, n->users[i].subject);
		if (n->users[i].client_id.p) {
			buf_putc(&f->users, '/');
			buf_slice_append(&f->users, n->users[i].client_id);
		}
		buf_putc(&f->users, ' ');
	}
}

UNUSED static void forget_news(struct fixture *f)
{
	f->news_count = f->bucket_count = f->lookup_count = 0;
	f->everything = false;
	buf_clear(&f->users);
}

UNUSED static const char *news_users(struct fixture *f)
{
	buf_putc(&f->users, '\0');
	f->users.n--;
	return f->users.p;
}

#define OK(call)                                                                                                                 \
	do {                                                                                                                     \
		if (!(call))                                                                                                     \
			fail_msg("%s: %s", #call, f->err.message);                                                               \
	} while (0)

UNUSED static void open_store(struct fixture *f)
{
	struct storage_options o = {
	        .path = slice_cstr(f->folder), .map_size = (uint64_t)4 << 30, .request_retention_ms = 3600000, .log = &f->log};
	f->s = storage_open_lmdb(&o, &f->err);
	if (!f->s)
		fail_msg("open: %s", f->err.message);
	storage_subscribe(f->s, note_news, f);
}

UNUSED static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	/* In memory where there is such a place: the tests ask what is durable, not how fast the disk is. */
	snprintf(f->folder, sizeof(f->folder), "%s/syncline-test-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	f->log = (struct log){.level = LOG_ERROR, .fd = 2};
	if (!mkdtemp(f->folder))
		return -1;
	open_store(f);
	*state = f;
	return 0;
}

UNUSED static void remove_folder(const char *folder)
{
	static const char *const files[] = {"data.mdb", "data.mdb-lock", "requests.mdb", "requests.mdb-lock", "lock"};
	char path[128];
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		unlink(path);
	}
	rmdir(folder);
}

UNUSED static int teardown(void **state)
{
	struct fixture *f = *state;
	storage_close(f->s);
	remove_folder(f->folder);
	arena_free(&f->arena);
	buf_free(&f->users);
	free(f);
	return 0;
}

/* As after a restart: what was stored last is attached again. */
UNUSED static void reopen(struct fixture *f)
{
	storage_close(f->s);
	open_store(f);
	struct slice text = storage_active_plan_text(f->s);
	if (text.p) {
		struct plan *p = make_plan(arena_cstr(&f->arena, text));
		OK(storage_attach_active(f->s, p, &f->err));
		plan_unref(p);
	}
}

UNUSED static void commit_at(struct fixture *f, uint64_t lsn)
{
	bool durable;
	f->lsn = lsn;
	storage_want_position(f->s, (struct position){0, lsn}); /* so that a position alone is shown, too */
	OK(storage_commit(f->s, (struct position){0, lsn}, true, &durable, &f->err));
}

UNUSED static void commit(struct fixture *f)
{
	commit_at(f, f->lsn + 10);
}

/* Deploys the text, fills nothing, activates and commits. */
UNUSED static void activate(struct fixture *f, const char *text)
{
	struct plan *p = make_plan(text);
	bool unchanged;
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	struct stored_plan *sp = storage_pending_plan(f->s);
	assert_non_null(sp);
	for (size_t i = 0; i < sp->count; i++)
		OK(storage_definition_ready(f->s, sp->definitions[i].number, &f->err));
	stored_plan_unref(sp);
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
	plan_unref(p);
}

UNUSED static uint32_t table(struct fixture *f, const char *name, uint32_t oid)
{
	struct table_key_column key = {SLICE("id"), 25};
	struct table_identity t = {.schema = SLICE("public"), .name = slice_cstr(name), .oid = oid, .key = &key, .key_count = 1};
	struct stored_table out;
	uint32_t *drop;
	size_t drop_count;
	OK(storage_resolve_table(f->s, &t, &f->arena, &out, &drop, &drop_count, &f->err));
	return out.number;
}

/* ---- rows ---- */

UNUSED static struct row_key row_key(const char *id)
{
	struct row_key k = {.bytes = slice_cstr(id)};
	uint8_t full[32];
	sha256_slices(&k.bytes, 1, full);
	memcpy(k.uuid, full, 16);
	return k;
}

UNUSED static struct put_entry entry(uint32_t definition, const char *keys, const char *type, const char *id, const char *data)
{
	struct put_entry e = {.definition = definition,
	                      .keys = slice_cstr(keys),
	                      .object_type = slice_cstr(type),
	                      .object_id = slice_cstr(id),
	                      .data = slice_cstr(data)};
	put_entry_digest(&e);
	return e;
}

UNUSED static void write_row_mode(struct fixture *f, uint32_t t, const char *id, const char *old, enum row_write_mode mode,
                                  const struct put_entry *puts, size_t put_count, const struct lookup_entry *lookups,
                                  size_t lookup_count, struct slice image)
{
	struct row_key key = row_key(id), former = old ? row_key(old) : key;
	struct row_contributions c = {.puts = puts, .put_count = put_count, .lookups = lookups, .lookup_count = lookup_count};
	OK(storage_write_row(f->s, t, &key, old ? &former : NULL, &c, image, mode, &f->err));
}

#define PUTS(...)                                                                                                                \
	(const struct put_entry[]){__VA_ARGS__}, sizeof((const struct put_entry[]){__VA_ARGS__}) / sizeof(struct put_entry)
#define LOOKUPS(...)                                                                                                             \
	(const struct lookup_entry[]){__VA_ARGS__},                                                                              \
	        sizeof((const struct lookup_entry[]){__VA_ARGS__}) / sizeof(struct lookup_entry)
#define NO_PUTS NULL, 0
#define NO_LOOKUPS NULL, 0
#define NO_IMAGE ((struct slice){NULL, 0})

/* write_puts_of(f, table, id, old key or NULL, PUTS(...)) */
UNUSED static void write_puts_of(struct fixture *f, uint32_t t, const char *id, const char *old, const struct put_entry *puts,
                                 size_t count)
{
	write_row_mode(f, t, id, old, ROW_STREAM, puts, count, NO_LOOKUPS, NO_IMAGE);
}

UNUSED static void compare_puts_of(struct fixture *f, uint32_t t, const char *id, const struct put_entry *puts, size_t count)
{
	write_row_mode(f, t, id, NULL, ROW_COMPARE, puts, count, NO_LOOKUPS, NO_IMAGE);
}

UNUSED static void delete_row(struct fixture *f, uint32_t t, const char *id)
{
	struct row_key key = row_key(id);
	OK(storage_delete_row(f->s, t, &key, &f->err));
}

/* ---- reading ---- */

static const char *const kind_names[] = {"PUT", "REMOVE", "MOVE", "CLEAR"};

/* "PUT 1 todos/t1 {...}|REMOVE 2 todos/t1|" of the bucket at the current checkpoint; checks the checksum on the way. */
UNUSED static const char *bucket_at(struct fixture *f, uint32_t definition, const char *keys, uint64_t c)
{
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	struct buf out = {0};
	struct op_view op;
	int got;
	uint32_t sum = 0;
	uint64_t count = 0;
	assert_non_null(r);
	uint32_t bucket = reader_bucket(r, definition, slice_cstr(keys));
	if (!bucket) {
		storage_read_end(r);
		return "none";
	}
	struct op_cursor *cursor = reader_ops(r, bucket, 0, c, &f->err);
	assert_non_null(cursor);
	while ((got = op_cursor_next(cursor, &op, &f->err)) > 0) {
		buf_printf(&out, "%s %llu %.*s/%.*s", kind_names[op.kind], (unsigned long long)op.op_id,
		           SLICE_ARG(op.object_type), SLICE_ARG(op.object_id));
		if (op.kind == OP_PUT)
			buf_printf(&out, " %.*s", SLICE_ARG(op.data));
		buf_putc(&out, '|');
		if (op.kind == OP_REMOVE)
			assert_int_equal(op.checksum, remove_checksum(op.subkey_table, op.subkey_uuid));
		sum += op.checksum;
		count++;
	}
	op_cursor_close(cursor);
	if (got < 0)
		fail_msg("%s", f->err.message);
	struct bucket_checksum checksum;
	OK(reader_checksum(r, bucket, c, &checksum, &f->err));
	assert_int_equal(checksum.checksum, sum);
	assert_int_equal(checksum.count, count);
	storage_read_end(r);
	struct slice text = arena_printf(&f->arena, "%.*s", (int)out.n, out.n ? out.p : "");
	buf_free(&out);
	return arena_cstr(&f->arena, text);
}

UNUSED static const char *bucket(struct fixture *f, uint32_t definition, const char *keys)
{
	return bucket_at(f, definition, keys, storage_checkpoint(f->s).op_id);
}

static int compare_slices(const void *a, const void *b)
{
	return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* Results at c, sorted, joined by spaces. */
UNUSED static const char *lookup_at(struct fixture *f, uint32_t definition, const char *key, uint64_t c)
{
	struct storage_reader *r = storage_read_begin(f->s, &f->err);
	struct lookup_read l = {.definition = definition, .key = slice_cstr(key)};
	OK(reader_lookups(r, &l, 1, c, SIZE_MAX, &f->arena, &f->err));
	storage_read_end(r);
	struct slice *sorted = arena_array(&f->arena, struct slice, l.count);
	if (l.count)
		memcpy(sorted, l.results, l.count * sizeof(*sorted));
	qsort(sorted, l.count, sizeof(*sorted), compare_slices);
	struct buf out = {0};
	for (size_t i = 0; i < l.count; i++)
		buf_printf(&out, "%s%.*s", i ? " " : "", SLICE_ARG(sorted[i]));
	char *text = arena_cstr(&f->arena, buf_slice(&out));
	buf_free(&out);
	return text;
}

UNUSED static const char *lookup(struct fixture *f, uint32_t definition, const char *key)
{
	return lookup_at(f, definition, key, storage_checkpoint(f->s).op_id);
}

#endif
