/* pull.c: syncs over HTTP as a client does, and hands the rows on. For debugging, demos and scripts. */
#include <curl/curl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/pull.h"
#include "cli/token_make.h"

#define MAX_STREAMS 100
#define MAX_LINE ((size_t)256 << 20)
#define RECONNECT_MS 1000

static const char help[] =
        "Usage: syncline pull (--token TOKEN | --sub USER) [--url URL] [--follow] [OPTIONS]\n\n"
        "Syncs as a client does, compares the checksum of every bucket, and prints the rows as JSON lines when the first\n"
        "checkpoint is complete. Exit code 0: done; 1: refused, not reachable, or a wrong checksum; 150: the configuration is "
        "bad.\n\n"
        "      --url URL              of the service; default: http://127.0.0.1 and the port of the configuration\n"
        "      --token TOKEN          the client's; - reads it from standard input\n"
        "      --sub USER             sign one as 'syncline token' does\n"
        "      --parameters JSON      client parameters, an object\n"
        "      --stream NAME          subscribe, beside the default streams; with parameters: NAME={\"list\":1}. Repeatable\n"
        "      --follow               stay connected and print each change ({\"op\":\"REMOVE\"} for rows that go)\n"
        "      --sqlite FILE          write into tables TYPE(id, data) of a SQLite file instead (needs libsqlite3)\n"
        "      --timeout SECONDS      give up when no checkpoint was complete by then; default 60; not with --follow\n"
        "      --stats                totals on standard error, as JSON\n";

struct pull {
	const char *url, *token, *sub, *parameters, *sqlite, *timeout;
	const char *streams[MAX_STREAMS];
	size_t stream_count;
	bool follow, stats;
	struct progress bar;
	char *certificate; /* of the configuration's own service; owned here. NULL: the system's authorities vouch for it */
	uint64_t timeout_s;
	/* running */
	struct pull_state *state;
	struct pull_output *output;
	struct buf line, body; /* body: of an answer that is no stream */
	CURL *curl;
	bool done, failed;
	struct error err;
};

/* How far the download is. */
static void show_progress(struct pull *p)
{
	struct pull_counts n;
	pull_state_counts(p->state, &n);
	progress_show(&p->bar, n.expected ? (double)n.operations / (double)n.expected : 1,
	              "%llu of %llu operations in %zu buckets", (unsigned long long)n.operations, (unsigned long long)n.expected,
	              n.buckets);
}

static bool show(struct pull *p)
{
	progress_clear(&p->bar);
	return pull_output_begin(p->output, &p->err) && pull_state_changes(p->state, pull_output_row, p->output, &p->err) &&
	       pull_output_commit(p->output, &p->err);
}

/* False ends the transfer. */
static bool take_line(struct pull *p)
{
	json_error_t where;
	bool complete = false;
	json_t *line = json_loadb(p->line.p, p->line.n, 0, &where);
	bool ok = line ? pull_state_line(p->state, line, &complete, &p->err)
	               : error_set(&p->err, "", "a line of the stream is not JSON: %s", where.text);
	json_decref(line);
	buf_clear(&p->line);
	if (ok && complete)
		ok = show(p);
	if (ok && !complete)
		show_progress(p);
	p->failed = !ok;
	p->done = complete && !p->follow;
	return ok && !p->done;
}

static size_t receive(char *bytes, size_t one, size_t n, void *ctx)
{
	struct pull *p = ctx;
	long status = 0;
	(void)one;
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200) {
		if (p->body.n < 65536)
			buf_append(&p->body, bytes, n);
		return n;
	}
	for (size_t at = 0; at < n;) {
		const char *end = memchr(bytes + at, '\n', n - at);
		size_t part = end ? (size_t)(end - bytes) - at : n - at;
		buf_append(&p->line, bytes + at, part);
		at += part + (end ? 1 : 0);
		if (p->line.n > MAX_LINE) {
			p->failed = true;
			error_set(&p->err, "", "a line of the stream is longer than %zu MiB", MAX_LINE >> 20);
			return 0;
		}
		if (end && p->line.n && !take_line(p))
			return 0;
	}
	return n;
}

/* {"stream": NAME, "parameters": {...}, "override_priority": null}; NULL after a message. */
static json_t *subscription(const char *text, struct error *err)
{
	const char *equals = strchr(text, '=');
	json_t *parameters = equals ? json_loads(equals + 1, 0, NULL) : NULL;
	if (equals && !json_is_object(parameters)) {
		json_decref(parameters);
		error_set(err, "", "--stream %s: what stands behind '=' must be a JSON object", text);
		return NULL;
	}
	return json_pack("{s:o,s:o,s:n}", "stream",
	                 json_text(equals ? slice_make(text, (size_t)(equals - text)) : slice_cstr(text)), "parameters",
	                 parameters ? parameters : json_null(), "override_priority");
}

/* The request; NULL: the command line is wrong. */
static char *request_body(struct pull *p)
{
	json_t *subscriptions = json_array(), *parameters = p->parameters ? json_loads(p->parameters, 0, NULL) : json_object();
	bool ok = json_is_object(parameters) || error_set(&p->err, "", "--parameters must be a JSON object");
	for (size_t i = 0; ok && i < p->stream_count; i++) {
		json_t *one = subscription(p->streams[i], &p->err);
		ok = one != NULL;
		if (one)
			json_array_append_new(subscriptions, one);
	}
	json_t *body =
	        json_pack("{s:o,s:b,s:b,s:s,s:o,s:{s:b,s:o}}", "buckets", pull_state_positions(p->state), "include_checksum", 1,
	                  "raw_data", 1, "client_id", "syncline-pull", "parameters", parameters ? parameters : json_object(),
	                  "streams", "include_defaults", 1, "subscriptions", subscriptions);
	char *text = ok ? json_dumps(body, JSON_COMPACT) : NULL;
	json_decref(body);
	return text;
}

/* What an answer other than 200 says. */
static void refused(struct pull *p, long status)
{
	json_t *answer = json_loadb(p->body.p ? p->body.p : "", p->body.n, 0, NULL), *e = json_object_get(answer, "error");
	const char *code = json_string_value(json_object_get(e, "code")),
	           *text = json_string_value(json_object_get(e, "description"));
	error_set(&p->err, "", "the service answers %ld%s%s%s%s", status, code ? " " : "", code ? code : "", text ? ": " : "",
	          text ? text : "");
	json_decref(answer);
}

/* One connection. False: p->err says why; *retry: it may be better later. */
static bool connect_once(struct pull *p, const char *body, bool *retry)
{
	struct curl_slist *headers = NULL;
	struct buf text = {0};
	long status = 0;
	*retry = false;
	buf_printf(&text, "Authorization: Token %s", p->token);
	headers = curl_slist_append(headers, text.p);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	buf_clear(&text);
	buf_printf(&text, "%s/sync/stream", p->url);
	curl_easy_reset(p->curl);
	curl_easy_setopt(p->curl, CURLOPT_URL, text.p);
	curl_easy_setopt(p->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(p->curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(p->curl, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(p->curl, CURLOPT_USERAGENT, "syncline-pull/" SYNCLINE_VERSION);
	curl_easy_setopt(p->curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(p->curl, CURLOPT_WRITEDATA, p);
	curl_easy_setopt(p->curl, CURLOPT_CONNECTTIMEOUT, 10L);
	curl_easy_setopt(p->curl, CURLOPT_NOSIGNAL, 1L);
	if (p->certificate) { /* the address is 127.0.0.1, which no certificate names */
		curl_easy_setopt(p->curl, CURLOPT_CAINFO, p->certificate);
		curl_easy_setopt(p->curl, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	if (!p->follow)
		curl_easy_setopt(p->curl, CURLOPT_TIMEOUT, (long)p->timeout_s);
	buf_clear(&p->line);
	buf_clear(&p->body);
	CURLcode rc = curl_easy_perform(p->curl);
	curl_easy_getinfo(p->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	buf_free(&text);
	if (p->failed || p->done)
		return p->done && !p->failed;
	*retry = rc != CURLE_OPERATION_TIMEDOUT && (status == 0 || status == 200 || status == 503 || status == 429);
	if (rc == CURLE_OK && status != 200)
		refused(p, status);
	else if (rc == CURLE_OK)
		error_set(&p->err, "", "the service ended the stream");
	else if (rc == CURLE_OPERATION_TIMEDOUT && !p->follow)
		error_set(&p->err, "", "no checkpoint was complete within %llu s", (unsigned long long)p->timeout_s);
	else
		error_set(&p->err, "", "%s: %s", p->url, curl_easy_strerror(rc));
	return false;
}

static bool sync_loop(struct pull *p)
{
	for (;;) {
		bool retry;
		char *body = request_body(p);
		if (!body)
			return false;
		bool ok = connect_once(p, body, &retry);
		free(body);
		if (ok || !p->follow || !retry)
			return ok;
		progress_clear(&p->bar);
		fprintf(stderr, "syncline pull: %s; connecting again\n", p->err.message);
		nanosleep(&(struct timespec){.tv_sec = RECONNECT_MS / 1000}, NULL);
	}
}

static int run(struct pull *p)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
	signal(SIGPIPE, SIG_IGN);
	p->bar = progress_begin("Downloading", false);
	p->curl = curl_easy_init();
	p->state = pull_state_new();
	p->output = pull_output_open(p->sqlite, &p->err);
	bool ok = p->output && sync_loop(p);
	progress_clear(&p->bar);
	struct pull_counts n;
	pull_state_counts(p->state, &n);
	if (p->stats)
		fprintf(stderr, "{\"lines\":%llu,\"operations\":%llu,\"checkpoints\":%llu,\"buckets\":%zu}\n",
		        (unsigned long long)n.lines, (unsigned long long)n.operations, (unsigned long long)n.checkpoints,
		        n.buckets);
	int code = ok ? 0 : cli_fail("pull", false, 1, &p->err);
	if (p->output)
		pull_output_close(p->output);
	pull_state_free(p->state);
	curl_easy_cleanup(p->curl);
	buf_free(&p->line);
	buf_free(&p->body);
	return code;
}

/* Fills in what the configuration knows: the port, and a token for --sub. False: *code. */
static bool ask_config(struct pull *p, const struct config_arguments *arguments, struct buf *url, struct buf *token, int *code)
{
	if (p->url && p->token)
		return true;
	struct config *config = cli_load("pull", arguments, false, code);
	if (!config)
		return false;
	bool ok = true;
	if (!p->url) {
		buf_printf(url, "http%s://127.0.0.1:%d", config->tls.certificate ? "s" : "", config->port);
		buf_putc(url, '\0');
		p->url = url->p;
		p->certificate = config->tls.certificate ? xstrdup(slice_cstr(config->tls.certificate)) : NULL;
	}
	if (!p->token) {
		struct token_request r = {.sub = p->sub};
		ok = token_make(config, &r, token, NULL, &p->err);
		buf_putc(token, '\0');
		p->token = token->p;
		if (!ok)
			*code = cli_fail("pull", false, 1, &p->err);
	}
	config_free(config);
	return ok;
}

/* --stream may come several times, which the table of options does not know: taken out before. */
static int take_streams(struct pull *p, int argc, char **argv)
{
	int kept = 0;
	for (int i = 0; i < argc; i++) {
		bool joined = strncmp(argv[i], "--stream=", 9) == 0, apart = strcmp(argv[i], "--stream") == 0 && i + 1 < argc;
		if ((joined || apart) && p->stream_count < MAX_STREAMS)
			p->streams[p->stream_count++] = joined ? argv[i] + 9 : argv[++i];
		else
			argv[kept++] = argv[i];
	}
	return kept;
}

static void read_token(struct pull *p, char *space, size_t size)
{
	if (!p->token || strcmp(p->token, "-") != 0)
		return;
	size_t n = fread(space, 1, size - 1, stdin);
	space[n] = '\0';
	space[strcspn(space, " \r\n")] = '\0';
	p->token = space;
}

int cli_pull(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	struct pull p = {.err = {.code = ""}, .timeout_s = 60};
	char space[65536];
	int code = EXIT_USAGE;
	const struct cli_option options[] = {
	        {.long_name = "--url", .value = &p.url},
	        {.long_name = "--token", .value = &p.token},
	        {.long_name = "--sub", .value = &p.sub},
	        {.long_name = "--sqlite", .value = &p.sqlite},
	        {.long_name = "--timeout", .value = &p.timeout},
	        {.long_name = "--parameters", .value = &p.parameters},
	        {.long_name = "--follow", .flag = &p.follow},
	        {.long_name = "--stats", .flag = &p.stats},
	        {.long_name = NULL},
	};
	argc = take_streams(&p, argc, argv);
	if (!cli_parse(&(struct cli_syntax){.command = "pull", .help = help, .options = options, .config = &arguments}, argc,
	               argv, &code))
		return code;
	if (!p.token == !p.sub || (p.timeout && (!slice_parse_u64(slice_cstr(p.timeout), 86400, &p.timeout_s) || !p.timeout_s))) {
		fprintf(stderr, "syncline pull: %s; see 'syncline pull --help'\n",
		        !p.token == !p.sub ? "one of --token and --sub is needed" : "--timeout must be 1 to 86400");
		return EXIT_USAGE;
	}
	struct buf url = {0}, token = {0};
	read_token(&p, space, sizeof(space));
	if (ask_config(&p, &arguments, &url, &token, &code))
		code = run(&p);
	buf_free(&url);
	buf_free(&token);
	free(p.certificate);
	return code;
}
