/*
 * pull_output.c: rows as JSON lines, or in a SQLite file.
 *
 * libsqlite3 is loaded when it is asked for: a service does not need it. A table for each type, with the columns id and data (JSON).
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/pull.h"

/* The part of SQLite's C interface that is used (stable since 3.0). */
struct sqlite_api {
	void *loaded;
	int (*open)(const char *path, void **db);
	int (*close)(void *db);
	int (*exec)(void *db, const char *sql, void *callback, void *ctx, char **message);
	int (*prepare)(void *db, const char *sql, int n, void **statement, const char **tail);
	int (*bind_text)(void *statement, int at, const char *text, int n, void (*release)(void *));
	int (*step)(void *statement);
	int (*finalize)(void *statement);
	const char *(*errmsg)(void *db);
};
#define SQLITE_OK 0
#define SQLITE_DONE 101

struct pull_output {
	struct sqlite_api sqlite;
	void *db; /* NULL: JSON lines */
};

static bool failed(struct pull_output *o, struct error *err)
{
	return error_set(err, "", "SQLite: %s", o->sqlite.errmsg(o->db));
}

static bool load(struct sqlite_api *api, struct error *err)
{
	struct {
		const char *name;
		void *function;
	} all[] = {{"sqlite3_open", &api->open},          {"sqlite3_close", &api->close},         {"sqlite3_exec", &api->exec},
	           {"sqlite3_prepare_v2", &api->prepare}, {"sqlite3_bind_text", &api->bind_text}, {"sqlite3_step", &api->step},
	           {"sqlite3_finalize", &api->finalize},  {"sqlite3_errmsg", &api->errmsg}};
	api->loaded = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!api->loaded)
		return error_set(err, "", "--sqlite needs libsqlite3: %s", dlerror());
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++) {
		void *symbol = dlsym(api->loaded, all[i].name);
		if (!symbol)
			return error_set(err, "", "libsqlite3 has no %s", all[i].name);
		memcpy(all[i].function, &symbol, sizeof(symbol));
	}
	return true;
}

struct pull_output *pull_output_open(const char *sqlite_path, struct error *err)
{
	struct pull_output *o = xcalloc(1, sizeof(*o));
	if (!sqlite_path)
		return o;
	if (load(&o->sqlite, err)) {
		if (o->sqlite.open(sqlite_path, &o->db) == SQLITE_OK &&
		    o->sqlite.exec(o->db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL) == SQLITE_OK)
			return o;
		error_set(err, "", "SQLite: cannot open %s: %s", sqlite_path, o->sqlite.errmsg(o->db));
	}
	pull_output_close(o);
	return NULL;
}

void pull_output_close(struct pull_output *o)
{
	if (o->db)
		o->sqlite.close(o->db);
	if (o->sqlite.loaded)
		dlclose(o->sqlite.loaded);
	free(o);
}

bool pull_output_begin(struct pull_output *o, struct error *err)
{
	return !o->db || o->sqlite.exec(o->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK || failed(o, err);
}

bool pull_output_commit(struct pull_output *o, struct error *err)
{
	if (o->db)
		return o->sqlite.exec(o->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK || failed(o, err);
	return fflush(stdout) == 0 || error_set(err, "", "cannot write");
}

static void identifier(struct buf *sql, const char *name)
{
	buf_putc(sql, '"');
	for (; *name; name++) {
		if (*name == '"')
			buf_putc(sql, '"');
		buf_putc(sql, *name);
	}
	buf_putc(sql, '"');
}

static bool write_sqlite(struct pull_output *o, const char *type, const char *id, const char *data, struct error *err)
{
	struct buf sql = {0};
	void *statement = NULL;
	buf_lit(&sql, "CREATE TABLE IF NOT EXISTS ");
	identifier(&sql, type);
	buf_lit(&sql, "(id TEXT PRIMARY KEY, data TEXT)");
	buf_putc(&sql, '\0');
	bool ok = o->sqlite.exec(o->db, sql.p, NULL, NULL, NULL) == SQLITE_OK;
	buf_clear(&sql);
	buf_printf(&sql, data ? "INSERT OR REPLACE INTO " : "DELETE FROM ");
	identifier(&sql, type);
	buf_printf(&sql, data ? "(id, data) VALUES (?1, ?2)" : " WHERE id = ?1");
	buf_putc(&sql, '\0');
	ok = ok && o->sqlite.prepare(o->db, sql.p, -1, &statement, NULL) == SQLITE_OK &&
	     o->sqlite.bind_text(statement, 1, id, -1, NULL) == SQLITE_OK &&
	     (!data || o->sqlite.bind_text(statement, 2, data, -1, NULL) == SQLITE_OK) &&
	     o->sqlite.step(statement) == SQLITE_DONE;
	if (!ok)
		failed(o, err);
	if (statement)
		o->sqlite.finalize(statement);
	buf_free(&sql);
	return ok;
}

bool pull_output_row(void *output, const char *type, const char *id, const char *data, struct error *err)
{
	struct pull_output *o = output;
	if (o->db)
		return write_sqlite(o, type, id, data, err);
	json_t *line = json_pack("{s:s,s:s,s:s}", "op", data ? "PUT" : "REMOVE", "type", type, "id", id);
	if (data) {
		json_t *value = json_loads(data, JSON_DECODE_ANY, NULL);
		json_object_set_new(line, "data", value ? value : json_string(data));
	}
	bool ok = json_dumpf(line, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF;
	json_decref(line);
	return ok || error_set(err, "", "cannot write to standard output");
}
