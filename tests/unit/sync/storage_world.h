/* storage_world.h: sessions over the real rules and the embedded store: a store with a sync config, and short ways to write rows. */
#ifndef SYNC_STORAGE_WORLD_H
#define SYNC_STORAGE_WORLD_H

#include "sync/client.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define UNUSED __attribute__((unused))

#define CONFIG(priority, extra)                                                                                                  \
	"bucket_definitions:\n"                                                                                                  \
	"  notes:\n"                                                                                                             \
	"    priority: " priority "\n"                                                                                           \
	"    data:\n"                                                                                                            \
	"      - SELECT * FROM notes\n"                                                                                          \
	"  mine:\n"                                                                                                              \
	"    parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()\n"                                   \
	"    data:\n"                                                                                                            \
	"      - SELECT * FROM todos WHERE list_id = bucket.list_id\n" extra

struct fixture {
	char folder[64];
	struct storage *s;
	struct arena arena;
	struct log log;
	struct error err;
	uint64_t lsn;
	struct client client;
	uint32_t tables[3];
};

#define OK(call)                                                                                                                 \
	do {                                                                                                                     \
		if (!(call))                                                                                                     \
			fail_msg("%s: %s", #call, f->err.message);                                                               \
	} while (0)

UNUSED static void commit(struct fixture *f)
{
	bool durable;
	f->lsn += 10;
	OK(storage_commit(f->s, (struct position){0, f->lsn}, true, &durable, &f->err));
}

UNUSED static void deploy(struct fixture *f, const char *yaml)
{
	struct diagnostics d = {0};
	struct plan *p = plan_compile(slice_cstr(yaml), SLICE("public"), &d);
	if (!p)
		fail_msg("%.*s", SLICE_ARG(d.items[0].message));
	diagnostics_free(&d);
	bool unchanged;
	OK(storage_deploy(f->s, p, &unchanged, &f->err));
	plan_unref(p);
	struct stored_plan *pending = storage_pending_plan(f->s);
	assert_non_null(pending);
	for (size_t i = 0; i < pending->count; i++)
		if (pending->definitions[i].state == DEFINITION_FILLING)
			OK(storage_definition_ready(f->s, pending->definitions[i].number, &f->err));
	stored_plan_unref(pending);
	OK(storage_activate_pending(f->s, &f->err));
	commit(f);
}

UNUSED static int setup(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));
	*state = f;
	snprintf(f->folder, sizeof(f->folder), "%s/syncline-sync-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	f->log = (struct log){.level = LOG_ERROR, .fd = 2};
	if (!mkdtemp(f->folder))
		return -1;
	struct storage_options o = {
	        .path = slice_cstr(f->folder), .map_size = (uint64_t)1 << 30, .request_retention_ms = 3600000, .log = &f->log};
	f->s = storage_open_lmdb(&o, &f->err);
	if (!f->s)
		fail_msg("%s", f->err.message);
	client_setup(&f->client, f->s);
	f->client.options.token_payload = SLICE("{\"sub\":\"u1\"}");
	deploy(f, CONFIG("3", ""));
	static const char *names[] = {"notes", "lists", "todos"};
	for (int i = 0; i < 3; i++) {
		struct table_key_column key = {SLICE("id"), 25};
		struct table_identity t = {SLICE("public"), slice_cstr(names[i]), (uint32_t)(i + 1), &key, 1};
		struct stored_table out;
		uint32_t *drop;
		size_t drops;
		OK(storage_resolve_table(f->s, &t, &f->arena, &out, &drop, &drops, &f->err));
		f->tables[i] = out.number;
	}
	return 0;
}

UNUSED static int teardown(void **state)
{
	struct fixture *f = *state;
	client_teardown(&f->client);
	storage_close(f->s);
	static const char *const files[] = {"data.mdb", "data.mdb-lock", "requests.mdb", "requests.mdb-lock", "lock"};
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		char path[128];
		snprintf(path, sizeof(path), "%s/%s", f->folder, files[i]);
		unlink(path);
	}
	rmdir(f->folder);
	arena_free(&f->arena);
	free(f);
	return 0;
}

enum { NOTES, LISTS, TODOS };

/* Two text columns: id, and one whose name depends on the table. */
UNUSED static void write_row(struct fixture *f, int table, const char *id, const char *value)
{
	static const char *names[] = {"notes", "lists", "todos"};
	static const char *columns[] = {"text", "owner_id", "list_id"};
	struct slice list[] = {SLICE("id"), slice_cstr(columns[table])};
	struct relation_columns relation = {SLICE("default"), SLICE("public"), slice_cstr(names[table]), list, 2};
	struct stored_plan *plan = storage_active_plan(f->s);
	struct bound_table *bound = plan_bind(plan->plan, &relation);
	assert_non_null(bound);
	struct value row[] = {value_text(slice_cstr(id)), value_text(slice_cstr(value))};
	struct evaluation e;
	bound_evaluate(bound, row, &f->arena, &e);
	struct put_entry puts[8];
	struct lookup_entry lookups[8];
	for (size_t i = 0; i < e.entry_count; i++) {
		puts[i] = (struct put_entry){.definition = plan->definitions[e.entries[i].definition].number,
		                             .keys = e.entries[i].keys,
		                             .object_type = e.entries[i].object_type,
		                             .object_id = e.entries[i].object_id,
		                             .data = e.entries[i].data};
		put_entry_digest(&puts[i]);
	}
	for (size_t i = 0; i < e.lookup_count; i++)
		lookups[i] = (struct lookup_entry){plan->definitions[e.lookups[i].definition].number, e.lookups[i].key,
		                                   e.lookups[i].results};
	struct row_key key = {.bytes = slice_cstr(id)};
	snprintf((char *)key.uuid, sizeof(key.uuid), "%s", id);
	struct row_contributions c = {
	        .puts = puts, .put_count = e.entry_count, .lookups = lookups, .lookup_count = e.lookup_count};
	OK(storage_write_row(f->s, f->tables[table], &key, NULL, &c, (struct slice){0}, ROW_STREAM, &f->err));
	bound_table_free(bound);
	stored_plan_unref(plan);
}

UNUSED static void delete_row(struct fixture *f, int table, const char *id)
{
	struct row_key key = {.bytes = slice_cstr(id)};
	snprintf((char *)key.uuid, sizeof(key.uuid), "%s", id);
	OK(storage_delete_row(f->s, f->tables[table], &key, &f->err));
}

UNUSED static struct client_bucket *bucket_like(struct client *c, const char *after_number)
{
	for (size_t i = 0; i < c->bucket_count; i++)
		if (strcmp(strchr(c->buckets[i].name, '#') + 1, after_number) == 0)
			return &c->buckets[i];
	return NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
