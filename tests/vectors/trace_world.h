/* trace_world.h: what a trace runs on: a source database, the service as a process, and tokens. */
#ifndef TESTS_VECTORS_TRACE_WORLD_H
#define TESTS_VECTORS_TRACE_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "base/base64.h"
#include "trace_client.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define ADMIN_TOKEN "trace-admin"

struct world {
	const char *server_uri; /* PG_URI */
	const char *binary;     /* the service */
	char database[64], uri[1024], folder[256];
	PGconn *db;
	pid_t pid;
	int port;
};

static void pause_ms(int ms)
{
	nanosleep(&(struct timespec){ms / 1000, (ms % 1000) * 1000000L}, NULL);
}

static bool run_sql(PGconn *db, const char *sql, char *why, size_t size)
{
	PGresult *r = PQexec(db, sql);
	bool ok = PQresultStatus(r) == PGRES_COMMAND_OK || PQresultStatus(r) == PGRES_TUPLES_OK;
	if (!ok)
		snprintf(why, size, "SQL: %s", PQerrorMessage(db));
	PQclear(r);
	return ok;
}

/* ---- tokens --------------------------------------------------------------------------------------------------------------------- */

/* Owned by the caller. */
static char *make_token(const char *subject, long seconds, const char *audience)
{
	static const char head[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\",\"kid\":\"k1\"}";
	char claims[512];
	unsigned char mac[32];
	unsigned size;
	struct buf b = {0};
	long now = (long)time(NULL);
	int n = snprintf(claims, sizeof(claims), "{\"sub\":\"%s\",\"aud\":\"%s\",\"iat\":%ld,\"exp\":%ld}", subject, audience,
	                 seconds < 0 ? now + 2 * seconds : now, now + seconds);
	base64_encode(&b, head, sizeof(head) - 1, BASE64_URL);
	buf_putc(&b, '.');
	base64_encode(&b, claims, (size_t)n, BASE64_URL);
	HMAC(EVP_sha256(), SECRET, (int)strlen(SECRET), (const unsigned char *)b.p, b.n, mac, &size);
	buf_putc(&b, '.');
	base64_encode(&b, mac, size, BASE64_URL);
	buf_putc(&b, '\0');
	return b.p;
}

/* ---- the source ------------------------------------------------------------------------------------------------------------------ */

/* The server's URI with another database in it. */
static void database_uri(const char *server, const char *database, char *out, size_t size)
{
	const char *host = strstr(server, "://"), *end = host ? strpbrk(host + 3, "/?") : NULL;
	const char *query = strchr(server, '?');
	int n = end ? (int)(end - server) : (int)strlen(server);
	snprintf(out, size, "%.*s/%s%s", n, server, database, query ? query : "");
}

static PGconn *connect_server(const struct world *w)
{
	char uri[1024];
	database_uri(w->server_uri, "postgres", uri, sizeof(uri));
	return PQconnectdb(uri);
}

static bool world_source(struct world *w, const char *setup, char *why, size_t size)
{
	char sql[256];
	PGconn *server = connect_server(w);
	snprintf(w->database, sizeof(w->database), "trace_%d_%lld", (int)getpid(), (long long)clock_mono_us());
	snprintf(sql, sizeof(sql), "create database %s", w->database);
	bool ok = run_sql(server, sql, why, size);
	PQfinish(server);
	if (!ok)
		return false;
	database_uri(w->server_uri, w->database, w->uri, sizeof(w->uri));
	w->db = PQconnectdb(w->uri);
	return run_sql(w->db, setup, why, size) && run_sql(w->db, "create publication powersync for all tables", why, size);
}

static void world_drop_source(struct world *w)
{
	char sql[512], why[512];
	PQfinish(w->db);
	w->db = NULL;
	if (!w->database[0])
		return;
	PGconn *server = connect_server(w);
	snprintf(sql, sizeof(sql),
	         "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = '%s' and not active",
	         w->database);
	run_sql(server, sql, why, sizeof(why));
	snprintf(sql, sizeof(sql), "drop database if exists %s with (force)", w->database);
	run_sql(server, sql, why, sizeof(why));
	PQfinish(server);
	w->database[0] = '\0';
}

/* ---- the service ------------------------------------------------------------------------------------------------------------------- */

static int free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || getsockname(fd, (struct sockaddr *)&a, &size) != 0)
		a.sin_port = 0;
	close(fd);
	return ntohs(a.sin_port);
}

static bool write_file(const char *folder, const char *name, const char *text)
{
	char path[512];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "w");
	bool ok = f && fputs(text, f) >= 0;
	return f && fclose(f) == 0 && ok;
}

/* A source that trusts everybody still needs some password in the configuration. */
static bool has_password(const char *uri)
{
	bool found = false;
	PQconninfoOption *all = PQconninfoParse(uri, NULL);
	for (PQconninfoOption *o = all; o && o->keyword; o++)
		found |= strcmp(o->keyword, "password") == 0 && o->val && *o->val;
	PQconninfoFree(all);
	return found;
}

/* sync_config NULL: none is configured; it is deployed over HTTP. api: more lines under api, or NULL. */
static bool world_write_config(struct world *w, const char *sync_config, const char *api)
{
	struct buf b = {0}, key = {0};
	base64_encode(&key, SECRET, strlen(SECRET), BASE64_URL);
	buf_printf(&b,
	           "replication:\n  connections:\n    - {type: postgresql, uri: \"%s\", sslmode: disable%s}\n"
	           "storage: {type: lmdb, path: \"%s/data\"}\nport: %d\n%s"
	           "client_auth:\n  audience: [powersync-dev]\n  jwks: {keys: [{kty: oct, alg: HS256, kid: k1, k: %.*s}]}\n"
	           "api:\n  tokens: [" ADMIN_TOKEN "]\n%s",
	           w->uri, has_password(w->uri) ? "" : ", password: none", w->folder, w->port,
	           sync_config ? "sync_config: {path: sync-config.yaml}\n" : "", (int)key.n, key.p, api ? api : "");
	buf_putc(&b, '\0');
	bool ok = write_file(w->folder, "powersync.yaml", b.p) &&
	          (!sync_config || write_file(w->folder, "sync-config.yaml", sync_config));
	buf_free(&b);
	buf_free(&key);
	return ok;
}

static bool world_start(struct world *w, const char *sync_config, const char *api)
{
	char config[512], log[512];
	snprintf(w->folder, sizeof(w->folder), "/tmp/syncline-trace-XXXXXX");
	if (!mkdtemp(w->folder))
		return false;
	w->port = free_port();
	if (!world_write_config(w, sync_config, api))
		return false;
	snprintf(config, sizeof(config), "%s/powersync.yaml", w->folder);
	snprintf(log, sizeof(log), "%s/log", w->folder);
	w->pid = fork();
	if (w->pid == 0) {
		int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execl(w->binary, w->binary, "start", "-c", config, (char *)NULL);
		_exit(127);
	}
	return w->pid > 0;
}

static void world_print_log(struct world *w)
{
	char command[600];
	snprintf(command, sizeof(command), "tail -n 8 '%s/log'", w->folder);
	fflush(stdout);
	if (system(command) != 0)
		printf("(no log)\n");
}

static bool world_alive(struct world *w)
{
	return w->pid > 0 && waitpid(w->pid, NULL, WNOHANG) == 0;
}

static void world_stop(struct world *w)
{
	if (w->pid > 0 && kill(w->pid, SIGTERM) == 0) {
		for (int i = 0; i < 80 && waitpid(w->pid, NULL, WNOHANG) == 0; i++)
			pause_ms(100);
		if (kill(w->pid, 0) == 0) {
			kill(w->pid, SIGKILL);
			waitpid(w->pid, NULL, 0);
		}
	}
	w->pid = 0;
	char command[600];
	if (strncmp(w->folder, "/tmp/syncline-trace-", 20) == 0) {
		snprintf(command, sizeof(command), "rm -rf '%s'", w->folder);
		if (system(command) != 0)
			fprintf(stderr, "cannot remove %s\n", w->folder);
	}
	w->folder[0] = '\0';
}

/* ---- requests ---------------------------------------------------------------------------------------------------------------------- */

/* headers: whole lines. body NULL: none. */
static struct http *http_send(int port, const char *method, const char *path, const char *headers, const char *body)
{
	struct http *h = calloc(1, sizeof(*h));
	struct buf b = {0};
	if (!wire_open(&h->wire, port)) {
		h->wire.ended = true;
		return h;
	}
	buf_printf(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s", method, path, headers);
	if (body)
		buf_printf(&b, "Content-Length: %zu\r\n", strlen(body));
	buf_printf(&b, "\r\n%s", body ? body : "");
	wire_send(&h->wire, b.p, b.n);
	buf_free(&b);
	return h;
}

/* Status of a small request, with the whole body read; 0: no answer. */
static int http_status(int port, const char *method, const char *path, const char *headers, const char *body)
{
	struct http *h = http_send(port, method, path, headers, body);
	int64_t deadline = clock_mono_ms() + PATIENCE_MS;
	enum got got = http_read_head(h, deadline);
	while (got == GOT_IT && !h->complete) {
		http_pump(h);
		if (!h->complete)
			got = wire_fill(&h->wire, deadline);
	}
	int status = h->status;
	http_close(h);
	return status;
}

/* A whole first download of everything; every line goes to see. False: there is no checkpoint (yet). */
static bool first_sync(struct world *w, const char *body, void (*see)(void *ctx, json_t *line), void *ctx)
{
	char *token = make_token("user1", 3600, "powersync-dev"), headers[4096];
	snprintf(headers, sizeof(headers), "Authorization: Token %s\r\nContent-Type: application/json\r\n", token);
	free(token);
	struct http *h = http_send(w->port, "POST", "/sync/stream", headers, body);
	json_t *line = NULL;
	bool complete = false;
	while (!complete && http_line(h, clock_mono_ms() + 2000, &line) == GOT_IT) {
		complete = json_object_get(line, "checkpoint_complete") != NULL;
		if (see && h->status == 200)
			see(ctx, line);
		json_decref(line);
	}
	complete = complete || h->status == 500; /* too many buckets is an answer, too, but not for want of a config */
	if (h->status == 500 && h->body.n && memmem(h->body.p, h->body.n, "S2302", 5))
		complete = false;
	http_close(h);
	return complete;
}

/* Waits for the first checkpoint (configured), or only until the port answers. */
static bool world_ready(struct world *w, bool configured)
{
	int64_t deadline = clock_mono_ms() + 30000;
	while (clock_mono_ms() < deadline && world_alive(w)) {
		if (configured ? first_sync(w, "{\"streams\":{\"include_defaults\":false,\"subscriptions\":[]}}", NULL, NULL)
		               : http_status(w->port, "GET", "/probes/liveness", "", NULL) > 0)
			return true;
		pause_ms(50);
	}
	return false;
}

#endif
