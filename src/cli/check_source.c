/* check_source.c: the source database: reachability, settings, rights, room for a slot, publication, tables. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/check_list.h"
#include "cli/sync_config.h"
#include "cli/wiring.h"
#include "source/inspect.h"

#define OLDEST_VERSION 110000
#define SUBJECT "source"

static void check_settings(struct check_list *l, const struct source_facts *f)
{
	if (f->version < OLDEST_VERSION)
		check_add(l, CHECK_ERROR, SUBJECT, NULL, "PostgreSQL 11 or newer is needed, this server is version %d",
		          f->version / 10000);
	if (f->standby)
		check_add(l, CHECK_ERROR, SUBJECT, "connect to the primary", "the server is a standby");
	if (!slice_eq(f->wal_level, SLICE("logical")))
		check_add(l, CHECK_ERROR, SUBJECT, "ALTER SYSTEM SET wal_level = logical; then restart the server",
		          "wal_level is '%.*s', it must be 'logical'", SLICE_ARG(f->wal_level));
	else
		check_add(l, CHECK_OK, SUBJECT, NULL, "wal_level is logical");
	if (f->max_slot_wal_keep_bytes >= 0)
		check_add(l, CHECK_NOTE, SUBJECT, NULL,
		          "max_slot_wal_keep_size is %lld MB: a service that is away while more WAL is written loses its slot "
		          "and reads all tables again",
		          (long long)(f->max_slot_wal_keep_bytes >> 20));
}

/* The attribute alone does not tell: rds_replication and the like grant it otherwise. So it is tried. */
static void check_rights(struct check_list *l, const struct source_facts *f, struct source *source)
{
	struct error err = {.code = ""};
	char fix[300];
	snprintf(fix, sizeof(fix), "ALTER ROLE \"%.*s\" REPLICATION (on RDS: GRANT rds_replication TO \"%.*s\")",
	         f->user.n > 100 ? 100 : (int)f->user.n, f->user.p, f->user.n > 100 ? 100 : (int)f->user.n, f->user.p);
	if (source_try_replication(source, &err))
		check_add(l, CHECK_OK, SUBJECT, NULL, "the role %.*s may replicate", SLICE_ARG(f->user));
	else
		check_add(l, CHECK_ERROR, SUBJECT, f->superuser || f->may_replicate ? NULL : fix,
		          "the role %.*s cannot replicate: %s", SLICE_ARG(f->user), err.message);
}

/* The service needs one of each, unless it has them already (own). True: there is one. */
static bool check_room(struct check_list *l, const char *what, const char *setting, uint64_t used, uint64_t most, bool own)
{
	char fix[200];
	snprintf(fix, sizeof(fix), "raise %s and restart the server, or drop what is not used any more", setting);
	if (used < most)
		check_add(l, CHECK_OK, SUBJECT, NULL, "%llu of %llu %ss are left", (unsigned long long)(most - used),
		          (unsigned long long)most, what);
	else
		check_add(l, own ? CHECK_NOTE : CHECK_ERROR, SUBJECT, fix, "no %s is left: %llu of %llu are used%s", what,
		          (unsigned long long)used, (unsigned long long)most, own ? ", one of them by this service" : "");
	return used < most;
}

static bool slot_exists(struct check_list *l, struct source_connection *c, const char *slot)
{
	struct source_slot facts = {.found = false};
	struct error ignored;
	return *slot && source_slot_facts(c, slot, &l->arena, &facts, &ignored) && facts.found;
}

static void check_publication(struct check_list *l, const struct source_facts *f)
{
	if (!f->publication)
		check_add(l, CHECK_ERROR, SUBJECT, "CREATE PUBLICATION " SOURCE_PUBLICATION " FOR ALL TABLES",
		          "[PSYNC_S1141] the publication '" SOURCE_PUBLICATION "' does not exist");
	else if (!f->publication_whole)
		check_add(l, CHECK_ERROR, SUBJECT,
		          "ALTER PUBLICATION " SOURCE_PUBLICATION " SET (publish = 'insert, update, delete, truncate')",
		          "[PSYNC_S1142] the publication '" SOURCE_PUBLICATION "' does not publish all changes");
	else if (f->publication_via_root)
		check_add(l, CHECK_ERROR, SUBJECT,
		          "ALTER PUBLICATION " SOURCE_PUBLICATION " SET (publish_via_partition_root = false)",
		          "[PSYNC_S1143] the publication '" SOURCE_PUBLICATION "' uses publish_via_partition_root");
	else
		check_add(l, CHECK_OK, SUBJECT, NULL, "the publication '" SOURCE_PUBLICATION "' is there and whole");
}

static void check_tables(struct check_list *l, const struct source_facts *f, struct source_connection *c,
                         const struct source_pattern *p)
{
	struct error err = {.code = ""};
	struct inspected_table *tables;
	size_t count;
	if (!source_inspect(c, p, &l->arena, &tables, &count, &err)) {
		check_add(l, CHECK_ERROR, "tables", NULL, "%s", err.message);
		return;
	}
	if (!count)
		check_add(l, CHECK_WARNING, "tables", NULL, "%.*s", SLICE_ARG(source_pattern_missing(p, &l->arena)));
	for (size_t i = 0; i < count; i++) {
		struct table_problem problems[MAX_TABLE_PROBLEMS];
		size_t n = inspected_table_problems(&tables[i], f->user, &l->arena, problems);
		for (size_t j = 0; j < n; j++)
			check_add(l, problems[j].fatal ? CHECK_ERROR : CHECK_WARNING, "tables", NULL, "%.*s",
			          SLICE_ARG(problems[j].message));
		if (!n)
			check_add(l, CHECK_OK, "tables", NULL, "%.*s.%.*s", SLICE_ARG(tables[i].schema),
			          SLICE_ARG(tables[i].name));
	}
}

/* Names in the sync config that the schema lacks; missing tables are told by check_tables already. */
static void check_schema(struct check_list *l, struct source_connection *c, const char *tag, const char *text, const char *name)
{
	struct error err = {.code = ""};
	struct known_table *known;
	size_t count;
	if (!sync_config_known_tables(c, tag, &l->arena, &known, &count, &err)) {
		check_add(l, CHECK_ERROR, "sync config", NULL, "%s", err.message);
		return;
	}
	struct diagnostics d = {0};
	plan_unref(plan_compile_known(slice_cstr(text), SLICE("public"), known, count, &d));
	for (size_t i = 0; i < d.count; i++)
		if (strcmp(d.items[i].class_name, "column_not_found") == 0)
			check_add(l, CHECK_ERROR, "sync config", NULL, "%s:%zu:%zu: %.*s", name, d.items[i].line,
			          d.items[i].column, SLICE_ARG(d.items[i].message));
	diagnostics_free(&d);
}

static void check_connected(struct check_list *l, struct source *source, struct source_connection *c, const struct config *config,
                            const struct check_store *store, const char *text)
{
	struct error err = {.code = ""};
	struct source_facts f;
	if (!source_facts(c, &l->arena, &f, &err)) {
		check_add(l, CHECK_ERROR, SUBJECT, NULL, "%s", err.message);
		return;
	}
	check_settings(l, &f);
	check_room(l, "replication slot", "max_replication_slots", f.used_slots, f.max_slots, slot_exists(l, c, store->slot));
	if (check_room(l, "WAL sender", "max_wal_senders", f.used_senders, f.max_senders, store->running))
		check_rights(l, &f, source);
	check_publication(l, &f);
	if (!text)
		return;
	struct diagnostics d = {0};
	struct plan *plan = plan_compile(slice_cstr(text), SLICE("public"), &d);
	for (size_t i = 0; plan && i < plan_pattern_count(plan); i++) {
		const struct table_pattern *p = plan_pattern(plan, (uint32_t)i);
		double part = (double)i / (double)plan_pattern_count(plan);
		progress_show(&l->bar, CHECK_SOURCE_FROM + (1 - CHECK_SOURCE_FROM) * part, "table %.*s.%.*s",
		              SLICE_ARG(p->schema), SLICE_ARG(p->table));
		if (slice_eq(p->connection_tag, slice_cstr(config->source.tag)))
			check_tables(l, &f, c,
			             &(struct source_pattern){p->schema, p->table, p->schema_wildcard, p->table_wildcard});
		else
			check_add(l, CHECK_ERROR, "tables", NULL, "\"%.*s\".\"%.*s\": no connection has the tag %.*s",
			          SLICE_ARG(p->schema), SLICE_ARG(p->table), SLICE_ARG(p->connection_tag));
	}
	plan_unref(plan);
	diagnostics_free(&d);
	check_schema(l, c, config->source.tag, text, sync_config_name(config));
}

/* NULL: the message says enough. */
static const char *connect_fix(const struct error *err)
{
	if (strstr(err->message, "does not support SSL"))
		return "switch TLS on in the server, or set sslmode: disable where the network is trusted";
	if (strstr(err->message, "certificate verify failed") || strstr(err->message, "root certificate"))
		return "give the server's CA in cacert (PEM text); see also tls_servername";
	if (strstr(err->message, "password authentication failed"))
		return "a password with special characters belongs into the key password: the uri is not percent-decoded";
	return NULL;
}

void check_source(struct check_list *l, const struct config *config, const struct check_store *store, const char *text)
{
	struct error err = {.code = ""};
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	const struct config_postgres *p = &config->source;
	if (!config->has_source) {
		check_add(l, CHECK_WARNING, SUBJECT, NULL, "the configuration names no source database: nothing is replicated");
		return;
	}
	struct source_config sc = wiring_source_config(config);
	struct source *source = source_new(&sc, &log);
	struct source_connection *c = source_connect(source, &err);
	if (!c)
		check_add(l, CHECK_ERROR, SUBJECT, connect_fix(&err), "cannot connect to %s:%d/%s: %s", p->hostname, p->port,
		          p->database, err.message);
	else {
		check_add(l, CHECK_OK, SUBJECT, NULL, "connected to %s:%d/%s%s", p->hostname, p->port, p->database,
		          strcmp(p->sslmode, "disable") == 0 ? ", without TLS" : "");
		check_connected(l, source, c, config, store, text);
	}
	source_disconnect(c);
	source_free(source);
}
