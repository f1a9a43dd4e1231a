/*
 * requests.c: who waits for a checkpoint request, and why. Asks the running service, which knows its streams and its source; else looks
 * into the store.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/control.h"
#include "cli/shared_store.h"
#include "cli/storage_folder.h"
#include "cli/wiring.h"
#include "server/request_report.h"

static const char help[] =
        "Usage: syncline requests [--user USER] [--client CLIENT] [OPTIONS]\n\n"
        "Shows checkpoint requests: without --user and --client those that wait, oldest first; with one of them everything that\n"
        "is known of that user or client: newest id, last acknowledged id, what is pending at which position of the source "
        "since\n"
        "when, open streams, and why the client waits. Asks the running service, and looks into the store without one.\n"
        "Exit code 0: done; 1: it failed; 150: the configuration is bad.\n\n"
        "      --user USER            the user id (the token's sub)\n"
        "      --client CLIENT        the client id\n"
        "      --limit N              at most so many clients: 1 to 1000 (100)\n"
        "      --json                 as JSON\n";

struct request {
	const char *user, *client, *limit;
	size_t most;
	bool json;
};

/* ---- text ----------------------------------------------------------------------------------------------------------------------- */

/* Ids come from clients: quoted as JSON, so that nothing in them can do anything to a terminal. */
static void print_quoted(const json_t *value)
{
	char *text = json_is_null(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
	for (char *c = text; c && *c; c++)
		if (*c == 0x7f)
			*c = '?';
	fputs(text ? text : "none", stdout);
	free(text);
}

static const char *word(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));
	return text ? text : "none";
}

static void print_pending(const json_t *p)
{
	const json_t *go = json_object_get(p, "bytes_to_go");
	printf("    id %s%s, %.1f s old, ", word(p, "id"), json_is_true(json_object_get(p, "generated")) ? " (legacy)" : "",
	       json_number_value(json_object_get(p, "age_seconds")));
	if (json_is_null(json_object_get(p, "head")))
		printf("its head is not known yet\n");
	else if (go)
		printf("head %s, %lld bytes to go\n", word(p, "head"), json_integer_value(go));
	else
		printf("head %s\n", word(p, "head"));
}

static void print_client(const json_t *c)
{
	const json_t *pending = json_object_get(c, "pending"), *streams = json_object_get(c, "streams"), *one;
	size_t i;
	printf("\nuser ");
	print_quoted(json_object_get(c, "user_id"));
	printf(", client ");
	print_quoted(json_object_get(c, "client_id"));
	printf(": newest id %s, acknowledged %s", word(c, "newest_id"), word(c, "acknowledged_id"));
	if (streams)
		printf(", %zu open stream%s", json_array_size(streams), json_array_size(streams) == 1 ? "" : "s");
	if (json_is_true(json_object_get(c, "temporary")))
		printf(", seen %.0f s ago", json_number_value(json_object_get(c, "seen_seconds_ago")));
	putchar('\n');
	json_array_foreach(pending, i, one) print_pending(one);
	printf("    %s\n", word(c, "reason"));
}

static void print_summary(const json_t *r)
{
	const json_t *source = json_object_get(r, "source"), *error = json_object_get(source, "error");
	if (!json_is_true(json_object_get(r, "running")))
		printf("No service is running on this store; open streams and the source are not known.\n");
	else if (!source)
		printf("The service cannot be asked; open streams and the source are not known.\n");
	else if (!json_is_true(json_object_get(source, "connected")))
		printf("The source is %s%s%s.\n", json_is_true(json_object_get(source, "configured")) ? "away" : "not configured",
		       error ? ": " : "", error ? json_string_value(error) : "");
	else
		printf("The source is connected, %lld bytes of it are not served yet.\n",
		       json_integer_value(json_object_get(source, "lag_bytes")));
	if (json_is_true(json_object_get(r, "custom")))
		printf("Custom write checkpoints are in use: ids come with the data.\n");
	printf("Clients are served position %s.\n", word(r, "position"));
	printf("%lld pending, %lld of them without a head", json_integer_value(json_object_get(r, "pending")),
	       json_integer_value(json_object_get(r, "waiting_for_head")));
	if (json_integer_value(json_object_get(r, "pending")))
		printf(", the oldest for %.1f s", json_number_value(json_object_get(r, "oldest_age_seconds")));
	printf(".\n");
}

static void print_report(const struct request *q, json_t *report)
{
	const json_t *clients = json_object_get(report, "clients"), *one;
	size_t i;
	if (q->json) {
		json_object_set_new(report, "ok", json_true());
		cli_print_json(report);
		return;
	}
	print_summary(report);
	json_array_foreach(clients, i, one) print_client(one);
	if (!json_array_size(clients) && (q->user || q->client))
		printf("Nothing is known of this %s.\n", q->client ? "client" : "user");
	if (json_is_true(json_object_get(report, "more")))
		printf("\nThere are more; see --limit.\n");
	json_decref(report);
}

/* ---- where it comes from -------------------------------------------------------------------------------------------------------- */

static json_t *ask_service(const struct config *config, const struct request *q, enum control_outcome *outcome, struct error *err)
{
	json_t *order = json_pack("{s:s,s:I}", "command", "requests", "limit", (json_int_t)q->most), *done = NULL;
	if (q->user)
		json_object_set_new(order, "user_id", json_text(slice_cstr(q->user)));
	if (q->client)
		json_object_set_new(order, "client_id", json_text(slice_cstr(q->client)));
	*outcome = control_call(config->storage.path, order, NULL, NULL, &done, err);
	return done;
}

static json_t *look_into_store(const struct config *config, const struct request *q, struct error *err)
{
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	struct storage_options options = wiring_storage_options(config, &log);
	struct request_filter filter = {.limit = q->most};
	long pid;
	uint64_t space;
	enum folder_state folder = storage_folder_state(config, &pid, &space, err);
	if (q->user)
		filter.subject = slice_cstr(q->user);
	if (q->client)
		filter.client_id = slice_cstr(q->client);
	if (folder == FOLDER_ABSENT)
		error_set(err, "", "there is no store in %s", config->storage.path);
	if (folder == FOLDER_ABSENT || folder == FOLDER_BAD)
		return NULL;
	struct storage *storage = storage_open_lmdb_readonly(&options, err);
	json_t *report = storage ? request_report(storage, NULL, folder == FOLDER_IN_USE, &filter, err) : NULL;
	storage_close(storage);
	return report;
}

static json_t *look_into_shared_store(const struct config *config, const struct request *q, struct error *err)
{
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	struct request_filter filter = {.limit = q->most};
	struct shared_store store;
	if (q->user)
		filter.subject = slice_cstr(q->user);
	if (q->client)
		filter.client_id = slice_cstr(q->client);
	bool opened = shared_store_open(&store, config, &log, err);
	json_t *report = opened ? request_report(store.storage, NULL, true, &filter, err) : NULL;
	shared_store_close(&store);
	return report;
}

static int run(const struct config *config, const struct request *q)
{
	struct error err = {.code = ""};
	enum control_outcome outcome;
	bool shared = is_shared_store(config);
	json_t *report = shared ? look_into_shared_store(config, q, &err) : ask_service(config, q, &outcome, &err);
	if (!shared && outcome == CONTROL_ABSENT)
		report = look_into_store(config, q, &err);
	if (!report)
		return cli_fail("requests", q->json, 1, &err);
	print_report(q, report);
	return 0;
}

static bool read_limit(struct request *q, struct error *err)
{
	uint64_t n = REPORT_DEFAULT_LIMIT;
	if (q->limit && (!slice_parse_u64(slice_cstr(q->limit), REPORT_MAX_LIMIT, &n) || n == 0))
		return error_set(err, "", "--limit takes a whole number from 1 to %d", REPORT_MAX_LIMIT);
	q->most = (size_t)n;
	return true;
}

int cli_requests(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	struct request q = {0};
	struct error err = {.code = ""};
	int code;
	const struct cli_option options[] = {
	        {.long_name = "--user", .value = &q.user},
	        {.long_name = "--client", .value = &q.client},
	        {.long_name = "--limit", .value = &q.limit},
	        {.long_name = "--json", .flag = &q.json},
	        {.long_name = NULL},
	};
	if (!cli_parse(&(struct cli_syntax){.command = "requests", .help = help, .options = options, .config = &arguments}, argc,
	               argv, &code))
		return code;
	if (!read_limit(&q, &err))
		return cli_fail("requests", q.json, EXIT_USAGE, &err);
	struct config *config = cli_load("requests", &arguments, q.json, &code);
	if (!config)
		return code;
	code = run(config, &q);
	config_free(config);
	return code;
}
