/* check.c: tests, before anything starts, what commonly goes wrong. Changes nothing: no slot, no folder, no table is made. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "auth/auth.h"
#include "base/clock.h"
#include "cli/check_list.h"
#include "cli/cli.h"
#include "cli/shared_store.h"
#include "cli/storage_folder.h"
#include "cli/sync_config.h"
#include "cli/wiring.h"
#include "server/tls.h"
#include "storage/store_lock.h"

#define LITTLE_SPACE ((uint64_t)1 << 30)

static const char help[] =
        "Usage: syncline check [--json] [OPTIONS]\n\n"
        "Tests everything that the service needs and changes nothing: the configuration (an unknown key is an error here),\n"
        "the keys and their URLs, the store's folder, the ports, the sync config, and the source: reachability, version,\n"
        "wal_level, rights, slots left, publication, each table's replica identity, and the sync config against the schema.\n"
        "It may run beside the service. Exit code 0: no errors (warnings do not count); 1: errors; 150: the configuration\n"
        "cannot be read.\n\n"
        "      --json                 as JSON\n";

static void check_configuration(struct check_list *l, const struct config *c)
{
	check_add(l, CHECK_OK, "configuration", NULL, "%s is readable", c->path ? c->path : "the base64 text");
	for (size_t i = 0; i < c->warning_count; i++)
		check_add(l, c->warnings[i].unknown ? CHECK_ERROR : CHECK_WARNING, "configuration", NULL, "%s",
		          c->warnings[i].message);
	if (!c->api.tokens.count)
		check_add(l, CHECK_NOTE, "configuration", NULL, "api.tokens is empty: the admin routes are closed");
	if (c->client_auth.development_tokens)
		check_add(l, CHECK_WARNING, "configuration", "leave it out in production",
		          "client_auth.development_tokens is on");
}

/* A well-formed token that nobody signed: asks every source for its keys. */
static void check_remote_keys(struct check_list *l, const struct config *c, struct key_store *keys)
{
	static const char probe[] = "eyJhbGciOiJSUzI1NiIsImtpZCI6InN5bmNsaW5lLWNoZWNrIn0.e30.AAAA";
	struct arena arena = {0};
	struct token_trace trace;
	key_store_trace(keys, slice_cstr(probe), clock_wall_ms() / 1000, &arena, &trace);
	if (strcmp(trace.err.code, "PSYNC_S2101") != 0)
		check_add(l, CHECK_ERROR, "keys", "the URL must answer 200 with a JWKS within 3 s; see the log line above",
		          "[%s] %s", trace.err.code, trace.err.message);
	else if (!trace.known_count)
		check_add(l, CHECK_ERROR, "keys", "set client_auth.jwks_uri, client_auth.jwks.keys or client_auth.supabase",
		          "there are no keys: nobody can sync");
	else
		check_add(l, CHECK_OK, "keys", NULL, "%zu keys, %zu URLs", trace.known_count,
		          c->client_auth.jwks_uris.count + (c->client_auth.supabase && c->client_auth.supabase_jwks_uri ? 1 : 0));
	arena_free(&arena);
}

static void check_keys(struct check_list *l, const struct config *c)
{
	struct error err = {.code = ""};
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	struct auth_config auth = wiring_auth_config(c);
	struct key_store *keys = key_store_new(&auth, &log, &err);
	if (!keys) {
		check_add(l, CHECK_ERROR, "keys", NULL, "%s%s%s%s", *err.code ? "[" : "", err.code, *err.code ? "] " : "",
		          err.message);
		return;
	}
	check_remote_keys(l, c, keys);
	if (!c->client_auth.audience.count && !c->client_auth.supabase)
		check_add(l, CHECK_ERROR, "keys", "list the accepted \"aud\" values in client_auth.audience",
		          "client_auth.audience is empty: no token is accepted");
	key_store_free(keys);
}

/* The slot of an installation that is there already, for counting those that are left. */
static void read_slot(const struct config *c, struct check_store *store)
{
	struct error ignored = {.code = ""};
	struct source_state state = {0};
	struct storage_options options = wiring_storage_options(c, NULL);
	struct storage *s = storage_open_lmdb_readonly(&options, &ignored);
	if (s && storage_source_state(s, &state, &ignored))
		snprintf(store->slot, sizeof(store->slot), "%s", state.slot_name + (state.slot_name[0] == '!'));
	if (s)
		storage_close(s);
}

/* True: a service holds the store. */
static bool note_holder(struct check_list *l, const char *folder)
{
	struct store_holder h = store_lock_holder(folder);
	if (h.command[0])
		check_add(l, CHECK_NOTE, "storage", NULL,
		          "%s is in use by process %ld, 'syncline %s': a service would wait until it ends", folder, h.pid,
		          h.command);
	else
		check_add(l, CHECK_NOTE, "storage", NULL, "%s is in use by process %ld: a second service would be refused",
		          folder, h.pid);
	return !h.command[0];
}

static void check_storage(struct check_list *l, const struct config *c, struct check_store *store)
{
	struct error err = {.code = ""};
	long pid;
	uint64_t space;
	if (is_shared_store(c)) {
		if (shared_store_reachable(c, &err))
			check_add(l, CHECK_OK, "storage", NULL, "the database %s on %s is reachable",
			          c->storage.postgres.database, c->storage.postgres.hostname);
		else
			check_add(l, CHECK_ERROR, "storage", NULL, "%s", err.message);
		return;
	}
	if (strcmp(c->storage.type, "lmdb") != 0) {
		check_add(l, CHECK_ERROR, "storage", "use 'lmdb' or 'postgresql', or leave the section out",
		          "storage.type '%s' is not supported by this version", c->storage.type);
		return;
	}
	enum folder_state state = storage_folder_state(c, &pid, &space, &err);
	if (state == FOLDER_BAD)
		check_add(l, CHECK_ERROR, "storage", NULL, "%s", err.message);
	else if (state == FOLDER_IN_USE)
		store->running = note_holder(l, c->storage.path);
	else
		check_add(l, CHECK_OK, "storage", NULL, "%s %s", c->storage.path,
		          state == FOLDER_ABSENT ? "will be made" : "is there and free");
	if (state != FOLDER_BAD && space < LITTLE_SPACE)
		check_add(l, CHECK_WARNING, "storage", NULL, "only %llu MB are left on its disk",
		          (unsigned long long)(space >> 20));
	if (state == FOLDER_IN_USE || state == FOLDER_FREE)
		read_slot(c, store);
}

/* running: a service holds the store, so its ports are taken as they should be. */
static void check_port(struct check_list *l, const char *key, int port, bool running)
{
	struct sockaddr_in address = {
	        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_ANY)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	if (port < 1 || port > 65535) {
		check_add(l, CHECK_ERROR, "ports", NULL, "%s: %d is no port", key, port);
	} else if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			check_add(l, CHECK_OK, "ports", NULL, "%s %d is free", key, port);
		else if (errno == EADDRINUSE && running)
			check_add(l, CHECK_NOTE, "ports", NULL, "%s %d is in use, as the store is", key, port);
		else
			check_add(l, CHECK_ERROR, "ports", NULL, "%s %d: %s", key, port, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
}

static void check_tls(struct check_list *l, const struct config *c)
{
	struct error err = {.code = ""};
	if (!c->tls.certificate)
		return;
	struct tls_context *tls = tls_context_new(c->tls.certificate, c->tls.private_key, &err);
	if (tls)
		check_add(l, CHECK_OK, "ports", NULL, "the TLS certificate and its key can be used");
	else
		check_add(l, CHECK_ERROR, "ports", NULL, "%s", err.message);
	tls_context_free(tls);
}

/* The text if it compiles, for the comparison with the schema. */
static char *check_sync_config(struct check_list *l, const struct config *c)
{
	struct error err = {.code = ""};
	char *text = sync_config_read(c, &err);
	if (!text) {
		check_add(l, err.message[0] ? CHECK_ERROR : CHECK_NOTE, "sync config", NULL, "%s",
		          err.message[0] ? err.message : "the configuration names none: it is deployed over the admin API");
		return NULL;
	}
	struct diagnostics d = {0};
	struct plan *plan = plan_compile(slice_cstr(text), SLICE("public"), &d);
	for (size_t i = 0; i < d.count; i++)
		check_add(l, d.items[i].level == DIAGNOSTIC_FATAL ? CHECK_ERROR : CHECK_WARNING, "sync config", NULL,
		          "%s:%zu:%zu: %.*s", sync_config_name(c), d.items[i].line, d.items[i].column,
		          SLICE_ARG(d.items[i].message));
	if (plan)
		check_add(l, CHECK_OK, "sync config", NULL, "%s: %zu definitions, %zu tables or table patterns",
		          sync_config_name(c), plan_definition_count(plan), plan_pattern_count(plan));
	diagnostics_free(&d);
	if (!plan) {
		free(text);
		text = NULL;
	}
	plan_unref(plan);
	return text;
}

int cli_check(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	bool json = false;
	int code;
	const struct cli_option options[] = {{.long_name = "--json", .flag = &json}, {.long_name = NULL}};
	if (!cli_parse(&(struct cli_syntax){.command = "check", .help = help, .options = options, .config = &arguments}, argc,
	               argv, &code))
		return code;
	struct config *c = cli_load("check", &arguments, json, &code);
	if (!c)
		return code;
	struct check_list list = {.bar = progress_begin("Checking", json)};
	check_configuration(&list, c);
	progress_step(&list.bar, 0, "the keys and their URLs");
	check_keys(&list, c);
	struct check_store store = {.running = false};
	progress_step(&list.bar, 0.2, "the store, the ports and the sync config");
	check_storage(&list, c, &store);
	check_port(&list, "port", c->port, store.running);
	if (c->prometheus_port)
		check_port(&list, "telemetry.prometheus_port", c->prometheus_port, store.running);
	if (c->prometheus_port == c->port)
		check_add(&list, CHECK_ERROR, "ports", NULL, "port and telemetry.prometheus_port are both %d", c->port);
	check_tls(&list, c);
	char *text = check_sync_config(&list, c);
	progress_step(&list.bar, CHECK_SOURCE_FROM, "the source");
	check_source(&list, c, &store, text);
	progress_clear(&list.bar);
	check_list_print(&list, json);
	code = list.errors ? 1 : 0;
	free(text);
	check_list_free(&list);
	config_free(c);
	return code;
}
