/*
 * config-vectors.c: runs the configuration vectors (README in the folder) against the config layer.
 *
 * config-files.json is judged after the stages find to resolve, as recorded, with the key store as the judge of keys and JWKS URLs;
 * the connection files after the whole of config_load. cli-exit-codes.json belongs to the tests of the command line.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth.h"
#include "config/load.h"
#include "cli/wiring.h"
#include "json_file.h"

struct tally {
	int passed, failed, skipped;
};

struct fixture {
	char home[4096], directory[64];
	json_t *files;
};

extern char **environ;

static void clear_variables(void)
{
	bool again = true;
	while (again) {
		again = false;
		for (char **e = environ; *e; e++) {
			bool ours = strncmp(*e, "PS_", 3) == 0 || strncmp(*e, "POWERSYNC_", 10) == 0 ||
			            strncmp(*e, "NODE_ENV=", 9) == 0;
			if (!ours)
				continue;
			char *name = strndup(*e, strcspn(*e, "="));
			unsetenv(name);
			free(name);
			again = true;
			break;
		}
	}
}

static void write_file(const char *name, const char *text)
{
	char folder[256];
	snprintf(folder, sizeof(folder), "%s", name);
	char *slash = strchr(folder, '/');
	if (slash) {
		*slash = '\0';
		mkdir(folder, 0700);
	}
	FILE *f = fopen(name, "w");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0) {
		perror(name);
		exit(2);
	}
}

static void fixture_start(struct fixture *x, json_t *files, json_t *env)
{
	const char *name;
	json_t *value;
	clear_variables();
	snprintf(x->directory, sizeof(x->directory), "/tmp/config-vectors-XXXXXX");
	x->files = files;
	if (!getcwd(x->home, sizeof(x->home)) || !mkdtemp(x->directory) || chdir(x->directory) != 0)
		exit(2);
	json_object_foreach(files, name, value) write_file(name, json_string_value(value));
	json_object_foreach(env, name, value) setenv(name, json_string_value(value), 1);
}

static void fixture_end(struct fixture *x)
{
	const char *name;
	json_t *value;
	json_object_foreach(x->files, name, value)
	{
		unlink(name);
		char folder[256];
		snprintf(folder, sizeof(folder), "%s", name);
		char *slash = strchr(folder, '/');
		if (slash) {
			*slash = '\0';
			rmdir(folder);
		}
	}
	if (chdir(x->home) != 0 || rmdir(x->directory) != 0)
		exit(2);
}

/* The part of the document that Syncline hands on unchanged. */
static json_t *node_json(const struct node *n)
{
	json_t *out;
	switch (n->kind) {
	case NODE_NULL:
		return json_null();
	case NODE_BOOLEAN:
		return json_boolean(n->boolean);
	case NODE_NUMBER:
		return n->number == floor(n->number) ? json_integer((json_int_t)n->number) : json_real(n->number);
	case NODE_STRING:
		return json_stringn(n->text.p, n->text.n);
	case NODE_LIST:
		out = json_array();
		for (size_t i = 0; i < n->list.count; i++)
			json_array_append_new(out, node_json(n->list.items[i]));
		return out;
	default:
		out = json_object();
		for (size_t i = 0; i < n->map.count; i++) {
			char *key = strndup(n->map.members[i].key.p, n->map.members[i].key.n);
			json_object_set_new(out, key, node_json(n->map.members[i].value));
			free(key);
		}
		return out;
	}
}

static json_t *node_json_or(const struct node *n, json_t *otherwise)
{
	if (!n)
		return otherwise;
	json_decref(otherwise);
	return node_json(n);
}

static json_t *strings_json(const struct config_string_list *list)
{
	json_t *out = json_array();
	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(out, json_string(list->items[i]));
	return out;
}

static json_t *number_json(double v)
{
	return v == floor(v) ? json_integer((json_int_t)v) : json_real(v);
}

static void append_key(json_t *out, const char *kid, const char *kty, const char *alg, const char *aud)
{
	char text[256];
	snprintf(text, sizeof(text), "<kid: %s, kty: %s%s%s%s%s>", kid ? kid : "*", kty, alg ? ", alg: " : "", alg ? alg : "",
	         aud ? ", aud: " : "", aud ? aud : "");
	json_array_append_new(out, json_string(text));
}

static json_t *keys_json(const struct config *c)
{
	json_t *out = json_array();
	for (size_t i = 0; i < c->client_auth.static_key_count; i++) {
		json_t *k = json_loadb(c->client_auth.static_keys[i].p, c->client_auth.static_keys[i].n, 0, NULL);
		append_key(out, json_string_value(json_object_get(k, "kid")), json_string_value(json_object_get(k, "kty")),
		           json_string_value(json_object_get(k, "alg")), NULL);
		json_decref(k);
	}
	if (c->client_auth.supabase_jwt_secret)
		append_key(out, NULL, "oct", "HS256", "authenticated");
	return out;
}

static json_t *sync_config_json(const struct config *c)
{
	bool by_text = c->sync_config.text.p != NULL;
	json_t *out =
	        json_pack("{s:b, s:b}", "present", by_text || c->sync_config.path, "exit_on_error", c->sync_config.exit_on_error);
	if (by_text)
		json_object_set_new(out, "content", json_stringn(c->sync_config.text.p, c->sync_config.text.n));
	else if (c->sync_config.path)
		json_object_set_new(out, "path", json_string(c->sync_config.path));
	return out;
}

static json_t *effective_json(const struct config *c)
{
	const struct node *d = c->document, *connections = node_at(d, "replication.connections");
	json_t *telemetry = json_pack("{s:b}", "disable_telemetry_sharing", c->disable_telemetry_sharing);
	if (c->prometheus_port)
		json_object_set_new(telemetry, "prometheus_port", json_integer(c->prometheus_port));
	json_t *parameters = json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "max_buckets_per_connection",
	                               number_json(c->api.max_buckets_per_connection), "max_parameter_query_results",
	                               number_json(c->api.max_parameter_query_results), "max_concurrent_connections",
	                               number_json(c->api.max_concurrent_connections), "max_data_fetch_concurrency",
	                               number_json(c->api.max_data_fetch_concurrency), "checkpoint_request_retention_minutes",
	                               (json_int_t)c->api.checkpoint_request_retention_minutes, "bucket_count_cache_ttl_minutes",
	                               (json_int_t)c->api.bucket_count_cache_ttl_minutes);
	const struct node *prefix =
	        connections && connections->list.count ? node_get(connections->list.items[0], "slot_name_prefix") : NULL;
	return json_pack(
	        "{s:i, s:o, s:{s:o, s:o}, s:{s:o, s:o}, s:o, s:o, s:o, s:{s:{s:b, s:b, s:b}}, s:o, s:o, s:{s:b}, s:s, s:o, s:s}",
	        "port", c->port, "sync_config", sync_config_json(c), "api", "tokens", strings_json(&c->api.tokens), "parameters",
	        parameters, "client_auth", "audience", strings_json(&c->client_auth.audience), "static_keys", keys_json(c),
	        "connections", node_json_or(connections, json_array()), "storage",
	        node_json_or(node_get(d, "storage"), json_null()), "telemetry", telemetry, "healthcheck", "probes",
	        "use_filesystem", c->probes.use_filesystem, "use_http", c->probes.use_http, "use_legacy", c->probes.use_legacy,
	        "metadata", node_json_or(node_get(d, "metadata"), json_object()), "parameters",
	        node_json_or(node_get(d, "parameters"), json_object()), "migrations", "disable_auto_migration",
	        c->disable_auto_migration, "slot_name_prefix", node_text(prefix, "powersync_"), "system",
	        node_json_or(node_get(d, "system"), json_null()), "token_max_expiration", "1d");
}

static json_t *at_path(json_t *root, const char *path)
{
	while (root && *path) {
		char key[128];
		size_t n = strcspn(path, "/");
		snprintf(key, sizeof(key), "%.*s", (int)n, path);
		root = json_object_get(root, key);
		path += n + (path[n] == '/');
	}
	return root;
}

static void report(struct tally *t, bool ok, const char *id, const char *expected, const char *got)
{
	t->passed += ok;
	t->failed += !ok;
	if (!ok)
		printf("FAIL %s\n  expected %s\n  got      %s\n", id, expected, got);
}

static void compare(struct tally *t, const char *id, json_t *expected, json_t *got)
{
	char *e = json_dumps(expected, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT);
	char *g = got ? json_dumps(got, JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT) : strdup("(absent)");
	report(t, strcmp(e, g) == 0, id, e, g);
	free(e);
	free(g);
}

static json_t *with_directory(json_t *value, const char *directory)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY), *mark;
	char *out = text;
	while ((mark = strstr(out, "${DIR}"))) {
		char *next = malloc(strlen(out) + strlen(directory) + 1);
		sprintf(next, "%.*s%s%s", (int)(mark - out), out, directory, mark + 6);
		free(out);
		out = next;
	}
	json_t *result = json_loads(out, JSON_DECODE_ANY, NULL);
	free(out);
	return result;
}

/* The message without list indexes: the vectors name keys that way. */
static void strip_indexes(const char *message, char *out)
{
	for (; *message; message++) {
		if (*message == '[')
			message += strcspn(message, "]");
		else
			*out++ = *message;
	}
	*out = '\0';
}

static bool names_all(json_t *names, const char *message, const char *stripped)
{
	size_t i;
	json_t *name;
	json_array_foreach(names, i, name) if (!strstr(message, json_string_value(name)) &&
	                                       !strstr(stripped, json_string_value(name))) return false;
	return true;
}

static void check_refused(struct tally *t, const char *id, json_t *expect, const char *stage, const struct error *err)
{
	char got[1400], stripped[1100];
	char *expected = json_dumps(expect, JSON_COMPACT);
	const char *code = json_string_value(json_object_get(expect, "code"));
	const char *want_stage = json_string_value(json_object_get(expect, "stage"));
	json_t *line = json_object_get(expect, "line");
	char place[32] = "";
	if (line)
		snprintf(place, sizeof(place), ":%d:", (int)json_integer_value(line));
	strip_indexes(err->message, stripped);
	snprintf(got, sizeof(got), "%s %s %s", stage, err->code, err->message);
	bool placed = !line || strstr(err->message, place) || strstr(err->message, "line ");
	report(t,
	       strcmp(stage, want_stage) == 0 && (!code || strcmp(code, err->code) == 0) && placed &&
	               names_all(json_object_get(expect, "keys"), err->message, stripped) &&
	               names_all(json_object_get(expect, "names"), err->message, stripped),
	       id, expected, got);
	free(expected);
}

static const char *stage_name(enum config_stage stage)
{
	static const char *const names[] = {"find", "parse", "decode", "resolve"};
	return names[stage];
}

/* What the command line does with client_auth. */
static bool key_store_accepts(const struct config *c, struct error *err)
{
	struct auth_config a = wiring_auth_config(c);
	struct key_store *k = key_store_new(&a, NULL, err);
	key_store_free(k);
	return k != NULL;
}

static void check_values(struct tally *t, const char *id, json_t *test, const struct config *c, const char *directory)
{
	json_t *values = json_object_get(json_object_get(test, "expect"), "values"), *effective = effective_json(c), *value;
	json_t *wanted = with_directory(values, directory);
	const char *path;
	if (!json_object_get(test, "probe")) {
		compare(t, id, wanted, effective);
	} else {
		json_t *got = json_object();
		json_object_foreach(wanted, path, value)
		{
			json_t *v = at_path(effective, path);
			json_object_set(got, path, v ? v : json_null());
		}
		compare(t, id, wanted, got);
		json_decref(got);
	}
	json_decref(wanted);
	json_decref(effective);
}

static void run_file_case(struct tally *t, json_t *test)
{
	const char *id = json_string_value(json_object_get(test, "id"));
	json_t *options = json_object_get(test, "options"), *expect = json_object_get(test, "expect");
	struct fixture x;
	fixture_start(&x, json_object_get(test, "files"), json_object_get(test, "env"));
	struct config_arguments arguments = {
	        .config_path = json_string_value(json_object_get(options, "config_path")),
	        .config_base64 = json_string_value(json_object_get(options, "config_base64")),
	        .sync_base64 = json_string_value(json_object_get(options, "sync_base64")),
	};
	struct error err = {.code = ""};
	enum config_stage stage;
	struct config *c = config_read(&arguments, &stage, &err);
	/* Syncline has a store of its own, so storage may be absent. */
	bool ok = json_is_true(json_object_get(expect, "ok")) || strcmp(id, "no-storage") == 0;
	bool accepted = c != NULL;
	if (c && !key_store_accepts(c, &err)) {
		accepted = false;
		stage = CONFIG_RESOLVE;
	}
	if (!accepted && !ok)
		check_refused(t, id, expect, stage_name(stage), &err);
	else if (accepted != ok)
		report(t, false, id, ok ? "accepted" : "refused", accepted ? "accepted" : err.message);
	else if (strcmp(id, "no-storage") == 0)
		report(t, c->storage.is_default, id, "the default store", "another store");
	else
		check_values(t, id, test, c, x.directory);
	config_free(c);
	fixture_end(&x);
}

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

/* The vectors write null where the default is in force. */
static json_t *ms_or_null(double seconds, double otherwise)
{
	return seconds == otherwise ? json_null() : number_json(seconds * 1000);
}

static json_t *postgres_json(const struct config_postgres *p)
{
	return json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o, s:o}", "id", p->id,
	                 "tag", p->tag, "hostname", p->hostname, "port", p->port, "database", p->database, "username",
	                 p->username, "password", p->password, "sslmode", p->sslmode, "cacert", text_or_null(p->cacert),
	                 "tls_servername", text_or_null(p->tls_servername), "client_certificate",
	                 text_or_null(p->client_certificate), "client_private_key", text_or_null(p->client_private_key),
	                 "connect_timeout_ms", ms_or_null(p->connect_timeout_s, 20), "max_pool_size", p->max_pool_size,
	                 "snapshot_socket_timeout_ms", ms_or_null(p->snapshot_socket_timeout_s, 30), "heartbeat_interval_seconds",
	                 number_json(p->heartbeat_interval_s), "debug_api", p->debug_api ? json_true() : json_null());
}

static json_t *mongodb_json(const struct config_mongodb *m, json_t *wanted)
{
	json_t *out = json_pack("{s:s, s:s, s:s, s:s, s:o}", "uri", m->uri, "database", m->database, "username", m->username,
	                        "password", m->password, "clear_batch_throttle_rate", number_json(m->clear_batch_throttle_rate));
	/* What the driver takes from the URI is the driver's business: the URI passes unchanged. */
	json_object_set(out, "connection_params", json_object_get(wanted, "connection_params"));
	return out;
}

static void run_connection_case(struct tally *t, json_t *test, bool mongodb)
{
	const char *id = json_string_value(json_object_get(test, "id"));
	json_t *expect = json_object_get(test, "expect"), *effective = json_object_get(expect, "effective");
	json_t *document = mongodb ? json_pack("{s:O}", "storage", json_object_get(test, "storage"))
	                           : json_pack("{s:{s:[O]}}", "replication", "connections", json_object_get(test, "connection"));
	char *text = json_dumps(document, 0);
	json_t *files = json_pack("{s:s}", "c.json", text);
	struct fixture x;
	fixture_start(&x, files, NULL);
	struct config_arguments arguments = {.config_path = "c.json"};
	struct error err = {.code = ""};
	enum config_stage stage;
	struct config *c = config_read(&arguments, &stage, &err);
	bool resolved = c && config_resolve_connections(c, &err);
	if (c && !resolved)
		stage = CONFIG_RESOLVE;
	if (!json_is_true(json_object_get(expect, "ok"))) {
		if (resolved)
			report(t, false, id, "refused", "accepted");
		else
			check_refused(t, id, expect, stage_name(stage), &err);
	} else if (!resolved) {
		report(t, false, id, "accepted", err.message);
	} else {
		json_t *got = mongodb ? mongodb_json(&c->storage.mongodb, effective) : postgres_json(&c->source);
		compare(t, id, effective, got);
		json_decref(got);
	}
	config_free(c);
	fixture_end(&x);
	json_decref(files);
	json_decref(document);
	free(text);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: config-vectors FOLDER\n");
		return 2;
	}
	struct tally t = {0};
	size_t i;
	json_t *test, *list = load_file(argv[1], "config-files.json");
	json_array_foreach(list, i, test) run_file_case(&t, test);
	json_decref(list);
	list = load_file(argv[1], "postgres-connection.json");
	json_array_foreach(list, i, test) run_connection_case(&t, test, false);
	json_decref(list);
	list = load_file(argv[1], "mongodb-storage.json");
	json_array_foreach(list, i, test) run_connection_case(&t, test, true);
	json_decref(list);
	list = load_file(argv[1], "cli-exit-codes.json");
	t.skipped += (int)json_array_size(list);
	json_decref(list);
	printf("%d passed, %d failed, %d skipped\n", t.passed, t.failed, t.skipped);
	return t.failed ? 1 : 0;
}
