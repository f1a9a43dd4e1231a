/*
 * explain.c: which buckets a user gets, through which stream, lookup and value; and where one row goes.
 *
 * The store is only looked at, also beside the service that uses it, and answers as of its last checkpoint.
 */
#include "cli/explain.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/shared_store.h"
#include "cli/storage_folder.h"
#include "cli/wiring.h"

static const char help[] =
        "Usage: syncline explain (--user CLAIMS | --row TABLE:ID) [OPTIONS]\n\n"
        "Says which buckets a user gets by the active sync config and the stored data: through which stream or definition,\n"
        "which lookup was asked with which key, and what it answered. And of one row, read from the source: which queries put "
        "it\n"
        "into which bucket, and for each one that does not, the first condition that did not hold. The store is "
        "only\n"
        "read, so the service may be running.\n"
        "Exit code 0: done; 1: it could not be told; 150: the configuration is bad.\n\n"
        "      --user CLAIMS          the token's payload as JSON, such as {\"sub\":\"u1\"}; what is no JSON object is taken as "
        "the user id\n"
        "      --parameters JSON      client parameters, an object (also --client-parameters)\n"
        "      --stream NAME          also subscribe to this stream; with parameters: NAME={\"list\":1}\n"
        "      --row TABLE:ID         TABLE may have a schema in front; values of a key of several columns are separated by "
        "commas\n"
        "      --json                 as JSON\n";

struct request {
	const char *user, *parameters, *stream, *row;
	bool json;
};

struct slice explain_bucket_name(const struct stored_plan *p, uint32_t definition, struct slice keys, struct arena *arena)
{
	const struct stored_definition *d = &p->definitions[definition];
	return arena_printf(arena, "%.*s%.*s", SLICE_ARG(d->head), SLICE_ARG(keys));
}

/* ---- the user ------------------------------------------------------------------------------------------------------------------- */

struct asking {
	const struct stored_plan *p;
	struct storage_reader *reader;
	uint64_t op_id;
	json_t *lookups;
};

static void note_lookup(struct asking *a, const struct lookup_read *l)
{
	const struct definition *d = plan_definition(a->p->plan, l->definition);
	json_t *answers = json_array();
	for (size_t i = 0; i < l->count; i++) {
		json_t *one = json_loadb(l->results[i].p, l->results[i].n, JSON_DECODE_ANY, NULL);
		json_array_append_new(answers, one ? one : json_text(l->results[i]));
	}
	json_t *parsed = json_loadb(l->key.p, l->key.n, JSON_DECODE_ANY, NULL);
	json_array_append_new(a->lookups,
	                      json_pack("{s:o,s:o,s:o,s:o}", "lookup", json_text(d->name), "query", json_text(d->content), "key",
	                                parsed ? parsed : json_text(l->key), "results", answers));
}

/* Reads for the querier, and notes what was asked and answered. */
static bool read_lookups(void *ctx, struct lookup_read *keys, size_t count, size_t max_results, struct arena *arena,
                         struct error *err)
{
	struct asking *a = ctx;
	if (!reader_plan_lookups(a->reader, a->p, keys, count, a->op_id, max_results, arena, err))
		return false;
	for (size_t i = 0; i < count; i++)
		note_lookup(a, &keys[i]);
	return true;
}

static json_t *reasons_of(const struct plan *plan, const struct resolution *r, const struct resolved_bucket *b)
{
	json_t *reasons = json_array();
	(void)r;
	for (size_t i = 0; i < b->reason_count; i++)
		json_array_append_new(
		        reasons, b->reasons[i].is_default
		                         ? json_pack("{s:o}", "default", json_text(plan_stream_name(plan, b->reasons[i].index)))
		                         : json_pack("{s:I}", "subscription", (json_int_t)b->reasons[i].index));
	return reasons;
}

static json_t *bucket_object(const struct asking *a, const struct resolution *r, const struct resolved_bucket *b,
                             struct arena *arena)
{
	const struct stored_definition *d = &a->p->definitions[b->definition];
	struct bucket_checksum sum = {0};
	struct error ignored;
	uint32_t number = reader_bucket(a->reader, d->number, b->keys);
	if (number)
		reader_checksum(a->reader, number, a->op_id, &sum, &ignored);
	json_t *keys = json_loadb(b->keys.p, b->keys.n, JSON_DECODE_ANY, NULL);
	return json_pack("{s:o,s:o,s:o,s:i,s:I,s:i,s:o}", "bucket",
	                 json_text(explain_bucket_name(a->p, b->definition, b->keys, arena)), "definition",
	                 json_text(plan_definition(a->p->plan, b->definition)->name), "keys", keys ? keys : json_array(),
	                 "priority", b->priority, "operations", (json_int_t)sum.count, "checksum", (int)(int32_t)sum.checksum,
	                 "because", reasons_of(a->p->plan, r, b));
}

static json_t *stream_object(const struct resolved_stream *s)
{
	json_t *errors = json_array();
	for (size_t i = 0; i < s->error_count; i++)
		json_array_append_new(errors, json_text(s->errors[i].message));
	return json_pack("{s:o,s:b,s:o}", "stream", json_text(s->name), "default", s->is_default, "errors", errors);
}

/* The claims as JSON: an object, or the user id alone. */
static struct slice claims_text(const char *user, struct arena *arena)
{
	json_t *claims = json_loads(user, 0, NULL);
	if (!json_is_object(claims)) {
		json_decref(claims);
		claims = json_pack("{s:o}", "sub", json_text(slice_cstr(user)));
	}
	char *text = json_dumps(claims, JSON_COMPACT);
	struct slice out = arena_copy(arena, slice_cstr(text));
	free(text);
	json_decref(claims);
	return out;
}

static bool make_parameters(const struct request *q, struct arena *arena, struct request_parameters *out, struct error *err)
{
	json_t *client = q->parameters ? json_loads(q->parameters, 0, NULL) : json_object();
	bool ok = json_is_object(client);
	json_decref(client);
	if (!ok)
		return error_set(err, "", "--parameters must be a JSON object");
	*out = (struct request_parameters){.token_payload = claims_text(q->user, arena),
	                                   .client_parameters = slice_cstr(q->parameters),
	                                   .include_defaults = true};
	if (!q->stream)
		return true;
	const char *equals = strchr(q->stream, '=');
	struct subscription_request *s = arena_calloc(arena, sizeof(*s));
	*s = (struct subscription_request){.stream = equals ? slice_make(q->stream, (size_t)(equals - q->stream))
	                                                    : slice_cstr(q->stream),
	                                   .parameters = equals ? slice_cstr(equals + 1) : slice_make(NULL, 0),
	                                   .override_priority = -1};
	json_t *parameters = equals ? json_loads(equals + 1, 0, NULL) : json_object();
	ok = json_is_object(parameters);
	json_decref(parameters);
	out->subscriptions = s;
	out->subscription_count = 1;
	return ok || error_set(err, "", "--stream: what stands behind '=' must be a JSON object");
}

static json_t *explain_user(const struct config *config, struct storage *storage, const struct stored_plan *p,
                            const struct request *q, struct arena *arena, struct error *err)
{
	struct request_parameters parameters;
	struct asking a = {.p = p, .op_id = storage_checkpoint(storage).op_id, .lookups = json_array()};
	struct lookup_reader reader = {&a, read_lookups};
	struct resolve_limits limits = {wiring_limit(config->api.max_parameter_query_results),
	                                wiring_limit(config->api.max_buckets_per_connection)};
	struct resolution r;
	json_t *out = NULL, *buckets = json_array(), *streams = json_array();
	struct querier *querier = make_parameters(q, arena, &parameters, err) ? querier_new(p->plan, &parameters, err) : NULL;
	a.reader = querier ? storage_read_begin(storage, err) : NULL;
	if (a.reader && querier_resolve(querier, &reader, &limits, arena, &r, err)) {
		for (size_t i = 0; i < r.bucket_count; i++)
			json_array_append_new(buckets, bucket_object(&a, &r, &r.buckets[i], arena));
		for (size_t i = 0; i < r.stream_count; i++)
			json_array_append_new(streams, stream_object(&r.streams[i]));
		json_t *claims = json_loadb(parameters.token_payload.p, parameters.token_payload.n, 0, NULL);
		out = json_pack("{s:o,s:O,s:O,s:O}", "claims", claims, "buckets", buckets, "lookups", a.lookups, "streams",
		                streams);
	}
	storage_read_end(a.reader);
	querier_free(querier);
	json_decref(buckets);
	json_decref(streams);
	json_decref(a.lookups);
	return out;
}

/* ---- for people ------------------------------------------------------------------------------------------------------------------ */

static void print_compact(const json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
}

static const char *text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "";
}

static void print_user(const json_t *u)
{
	size_t i, k;
	json_t *o, *reason;
	printf("user ");
	print_compact(json_object_get(u, "claims"));
	printf("\n\nlookups%s\n", json_array_size(json_object_get(u, "lookups")) ? "" : ": none was needed");
	json_array_foreach(json_object_get(u, "lookups"), i, o)
	{
		printf("  %s with the key ", text(o, "lookup"));
		print_compact(json_object_get(o, "key"));
		printf(json_array_size(json_object_get(o, "results")) ? " gives " : " gives nothing");
		if (json_array_size(json_object_get(o, "results")))
			print_compact(json_object_get(o, "results"));
		putchar('\n');
	}
	printf("\nbuckets%s\n", json_array_size(json_object_get(u, "buckets")) ? "" : ": none");
	json_array_foreach(json_object_get(u, "buckets"), i, o)
	{
		printf("  %s  priority %lld, %lld operations; by", text(o, "bucket"),
		       (long long)json_integer_value(json_object_get(o, "priority")),
		       (long long)json_integer_value(json_object_get(o, "operations")));
		json_array_foreach(json_object_get(o, "because"), k, reason)
		{
			if (json_object_get(reason, "default"))
				printf("%s %s", k ? "," : "", text(reason, "default"));
			else
				printf("%s the subscription", k ? "," : "");
		}
		putchar('\n');
	}
	json_array_foreach(json_object_get(u, "streams"), i, o)
	{
		json_array_foreach(json_object_get(o, "errors"), k, reason)
		{
			printf("  error in %s: %s\n", text(o, "stream"), json_string_value(reason));
		}
	}
}

static void print_row(const json_t *row)
{
	size_t i, k;
	json_t *o, *b;
	if (!json_is_true(json_object_get(row, "found"))) {
		printf("the source has no row %s in %s\n", text(row, "id"), text(row, "table"));
		return;
	}
	printf("row %s of %s%s\n", text(row, "id"), text(row, "table"),
	       json_array_size(json_object_get(row, "definitions")) ? "" : ": nothing reads this table");
	json_array_foreach(json_object_get(row, "definitions"), i, o)
	{
		printf("  %s %s%s%s\n", strcmp(text(o, "kind"), "lookup") == 0 ? "lookup" : "definition", text(o, "definition"),
		       *text(o, "query") ? ": WHERE " : "", text(o, "query"));
		if (!json_is_true(json_object_get(o, "passes")))
			printf("    no: %s\n", text(o, "reason"));
		json_array_foreach(json_object_get(o, "buckets"), k, b)
		        printf("    yes: %s, as %s %s\n", text(b, "bucket"), text(b, "type"), text(b, "id"));
		json_array_foreach(json_object_get(o, "lookups"), k, b)
		        printf("    yes: under the key %s: %s\n", text(b, "key"), text(b, "results"));
		if (json_object_get(o, "fault"))
			printf("    fails: %s\n", text(o, "fault"));
	}
}

/* ---- the command ------------------------------------------------------------------------------------------------------------------- */

/* Compiles what the store has and ties it to its numbers; NULL: nothing is active, or *err. */
static struct stored_plan *active_plan(struct storage *storage, struct error *err)
{
	struct slice yaml = storage_active_plan_text(storage);
	struct diagnostics d = {0};
	if (!yaml.p) {
		error_set(err, "PSYNC_S4104",
		          "no sync config is active in the store: the service must have finished its initial replication once");
		return NULL;
	}
	struct plan *plan = plan_compile(yaml, SLICE("public"), &d);
	diagnostics_free(&d);
	bool ok = plan ? storage_attach_active(storage, plan, err)
	               : error_set(err, "", "the sync config in the store cannot be compiled by this version");
	plan_unref(plan);
	struct stored_plan *p = ok ? storage_active_plan(storage) : NULL;
	if (ok && !p)
		error_set(err, "",
		          "the sync config in the store is read differently by this version: start the service with it first");
	return p;
}

static bool explain(const struct config *config, struct storage *storage, const struct request *q, struct error *err)
{
	struct arena arena = {0};
	struct stored_plan *p = active_plan(storage, err);
	json_t *user = NULL, *row = NULL;
	bool ok = p != NULL;
	if (ok && q->user)
		ok = (user = explain_user(config, storage, p, q, &arena, err)) != NULL;
	if (ok && q->row)
		ok = (row = explain_row(config, p, q->row, &arena, err)) != NULL;
	if (ok && q->json) {
		json_t *out = json_pack("{s:b}", "ok", 1);
		if (user)
			json_object_set(out, "user", user);
		if (row)
			json_object_set(out, "row", row);
		cli_print_json(out);
	} else if (ok) {
		if (user)
			print_user(user);
		if (user && row)
			putchar('\n');
		if (row)
			print_row(row);
	}
	json_decref(user);
	json_decref(row);
	stored_plan_unref(p);
	arena_free(&arena);
	return ok;
}

/* Only looked at, so also beside the service that uses it. */
static bool look_into_store(const struct config *config, const struct request *q, const struct log *log, struct error *err)
{
	struct storage_options options = wiring_storage_options(config, log);
	long pid;
	uint64_t space;
	enum folder_state folder = storage_folder_state(config, &pid, &space, err);
	if (folder == FOLDER_ABSENT)
		error_set(err, "", "there is no store in %s", config->storage.path);
	if (folder == FOLDER_ABSENT || folder == FOLDER_BAD)
		return false;
	struct storage *storage = storage_open_lmdb_readonly(&options, err);
	bool ok = storage && explain(config, storage, q, err);
	storage_close(storage);
	return ok;
}

static bool look_into_shared_store(const struct config *config, const struct request *q, const struct log *log, struct error *err)
{
	struct shared_store store;
	bool ok = shared_store_open(&store, config, log, err) && explain(config, store.storage, q, err);
	shared_store_close(&store);
	return ok;
}

static int run(const struct config *config, const struct request *q)
{
	struct error err = {.code = ""};
	struct log log = {.level = LOG_ERROR, .fd = STDERR_FILENO};
	bool ok =
	        is_shared_store(config) ? look_into_shared_store(config, q, &log, &err) : look_into_store(config, q, &log, &err);
	return ok ? 0 : cli_fail("explain", q->json, 1, &err);
}

int cli_explain(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	struct request q = {0};
	int code;
	const struct cli_option options[] = {
	        {.long_name = "--user", .value = &q.user},
	        {.long_name = "--parameters", .value = &q.parameters},
	        {.long_name = "--client-parameters", .value = &q.parameters},
	        {.long_name = "--stream", .value = &q.stream},
	        {.long_name = "--row", .value = &q.row},
	        {.long_name = "--json", .flag = &q.json},
	        {.long_name = NULL},
	};
	if (!cli_parse(&(struct cli_syntax){.command = "explain", .help = help, .options = options, .config = &arguments}, argc,
	               argv, &code))
		return code;
	if (!q.user && !q.row) {
		fprintf(stderr, "syncline explain: --user or --row is needed; see 'syncline explain --help'\n");
		return EXIT_USAGE;
	}
	struct config *config = cli_load("explain", &arguments, q.json, &code);
	if (!config)
		return code;
	code = run(config, &q);
	config_free(config);
	return code;
}
