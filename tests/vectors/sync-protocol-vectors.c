/*
 * sync-protocol-vectors.c: replays the golden traces of the sync protocol (README in the folder) against the service as a process.
 *
 *   PG_URI=postgres://... sync-protocol-vectors FOLDER [NAME ...]
 *
 * Each trace gets a source database and a service of its own; the service is the binary beside the folder of this program, or SYNCLINE.
 * What Syncline does on purpose in another way than the recorded service is in the tables of "wishes".
 */
#define _GNU_SOURCE /* memmem */
#include <dirent.h>
#include <limits.h>

#include "trace_websocket.h"

struct tally {
	int passed, failed, skipped;
};

/* ---- calls ------------------------------------------------------------------------------------------------------------------------------ */

/* Wishes: where the specification wants another answer than the recorded one. Owned by the caller. */
static json_t *wanted_response(struct trace *t, json_t *step)
{
	const char *label = str(step, "label");
	if (is_trace(t, "23") && strcmp(label, "parameters null") == 0)
		return json_pack("{s:i,s:{s:s}}", "status", 200, "headers", "content-type", "application/x-ndjson");
	if (is_trace(t, "23") && (strcmp(label, "after not a number") == 0 || strcmp(label, "after is 1.5") == 0))
		return json_pack("{s:i,s:s}", "status", 400, "body_has", "\"details\":\"[\\\"/buckets/0/after");
	if (is_trace(t, "23") && strcmp(label, "content type text/plain") == 0)
		return json_pack("{s:i,s:s}", "status", 415, "body_has", "FST_ERR_CTP_INVALID_MEDIA_TYPE");
	return json_incref(json_object_get(step, "response"));
}

static bool do_call(struct trace *t, json_t *step)
{
	json_t *wanted = wanted_response(t, step), *body = json_object_get(wanted, "body");
	const char *has = text_of(wanted, "body_has");
	struct http *h = send_request(t, step, NULL, NULL);
	bool ok = check_status(t, h, wanted);
	if (ok && body)
		ok = (read_to_end(h) || differ(&t->match, "the body does not end")) && check_body(t, h, body);
	if (ok && has)
		ok = (read_to_end(h) && memmem(h->body.p, h->body.n, has, strlen(has))) ||
		     differ(&t->match, "the body has no %s", has);
	if (!ok && *str(step, "label"))
		snprintf(t->match.why + strlen(t->match.why), sizeof(t->match.why) - strlen(t->match.why), " (%s)",
		         str(step, "label"));
	http_close(h);
	json_decref(wanted);
	return ok;
}

/* ---- the config switch (35) ---------------------------------------------------------------------------------------------------------------- */

/* False without a message: there is no such route. */
static bool do_deploy(struct trace *t, json_t *step)
{
	int status = http_status(t->world.port, "POST", "/api/sync-rules/v1/deploy",
	                         "Authorization: Bearer " ADMIN_TOKEN "\r\nContent-Type: application/yaml\r\n",
	                         str(step, "sync_config"));
	if (status == 404) {
		t->skip = "there is no deploy over HTTP";
		return false;
	}
	if (status != json_integer_value(json_object_get(step, "status")))
		return differ(&t->match, "status %d of the deploy", status);
	if (t->stream_count == 0)
		return world_ready(&t->world, true) || differ(&t->match, "no checkpoint after the deploy");
	return true; /* the stream tells when it is active */
}

/* README, what may differ 7: the stream may go on, with the bucket's new priority, or end. Then a new stream has the same rows. */
static bool do_switch_end(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	json_t *line = NULL, *bucket;
	enum got got;
	json_int_t priority = -1;
	size_t i;
	while ((got = http_line(s->http, clock_mono_ms() + 20000, &line)) == GOT_IT) {
		bool ok = note_line(t, s, line), complete = is_line(line, "checkpoint_complete");
		json_t *c = json_object_get(line, is_line(line, "checkpoint") ? "checkpoint" : "checkpoint_diff");
		json_array_foreach(json_object_get(c, is_line(line, "checkpoint") ? "buckets" : "updated_buckets"), i, bucket)
		        priority = get_number(bucket, "priority");
		json_decref(line);
		if (!ok)
			return false;
		if (complete && priority == 2)
			return true;
	}
	return (got == GOT_END && s->http->complete) || differ(&t->match, "neither a new checkpoint nor a clean end");
}

static bool do_switch_expect(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_find(t, str(step, "stream"));
	size_t i;
	json_t *bucket;
	if (!check_status(t, s->http, step) || !read_lines(t, s))
		return false;
	json_t *want =
	        json_array_get(json_object_get(json_object_get(json_array_get(t->expected, 0), "checkpoint"), "buckets"), 0);
	json_array_foreach(json_object_get(json_object_get(json_array_get(t->got, 0), "checkpoint"), "buckets"), i,
	                   bucket) if (strcmp(without_number(str(bucket, "bucket")), without_number(str(want, "bucket"))) != 0 ||
	                               get_number(bucket, "priority") != get_number(want, "priority") ||
	                               get_number(bucket, "checksum") !=
	                                       get_number(want, "checksum")) return differ(&t->match,
	                                                                                   "another bucket after the switch");
	return i == 1 || differ(&t->match, "another number of buckets after the switch");
}

/* ---- steps ----------------------------------------------------------------------------------------------------------------------------------- */

/* By the running service; checkpoints that were just handed out are not spared. */
static bool run_compaction(struct trace *t)
{
	char command[1024];
	snprintf(command, sizeof(command), "'%s' compact --margin 0 -c '%s/powersync.yaml' >'%s/compact.log' 2>&1",
	         t->world.binary, t->world.folder, t->world.folder);
	return system(command) == 0 || differ(&t->match, "the compaction failed, see compact.log");
}

static bool do_note(struct trace *t, json_t *step)
{
	const char *text = str(step, "text");
	if (strncmp(text, "SIGTERM", 7) == 0)
		return kill(t->world.pid, SIGTERM) == 0;
	if (strncmp(text, "compact", 7) != 0)
		return differ(&t->match, "a note that is not understood: %s", text);
	t->compacted = true;
	return run_compaction(t);
}

static bool do_open(struct trace *t, json_t *step)
{
	struct trace_stream *old = stream_find(t, str(step, "stream"));
	if (old)
		stream_close(old);
	struct trace_stream *s = stream_add(t, str(step, "stream"));
	s->http = send_request(t, step, s->name, s->model);
	return true;
}

static bool do_ws_open(struct trace *t, json_t *step)
{
	struct trace_stream *s = stream_add(t, str(step, "ws"));
	s->ws = calloc(1, sizeof(*s->ws));
	return ws_open(s->ws, t->world.port, str(step, "path")) || differ(&t->match, "the upgrade failed");
}

static unsigned long long served_op(struct trace *t)
{
	struct survey s = {.buckets = json_object()};
	first_sync(&t->world, "{}", survey_line, &s);
	json_decref(s.buckets);
	return s.last_op;
}

/* If no stream shows that the change has arrived, a look at what is served does. */
static bool do_sql(struct trace *t, json_t *step)
{
	const char *next = str(json_array_get(t->steps, t->at + 1), "do");
	bool wait = !strstr(next, "expect");
	unsigned long long before = wait ? served_op(t) : 0;
	bool ok = run_sql(t->world.db, str(step, "sql"), t->match.why, sizeof(t->match.why));
	for (int i = 0; ok && wait && i < 100 && served_op(t) == before; i++)
		pause_ms(20);
	return ok;
}

static bool do_close(struct trace *t, json_t *step)
{
	stream_close(stream_find(t, str(step, "stream")));
	pause_ms(200); /* until the service has noticed */
	return true;
}

static bool do_step(struct trace *t, json_t *step)
{
	static const struct {
		const char *name;
		bool (*run)(struct trace *t, json_t *step);
	} steps[] = {
	        {"open", do_open},
	        {"expect", do_expect},
	        {"expect_silence", do_silence},
	        {"expect_end", do_end},
	        {"close", do_close},
	        {"call", do_call},
	        {"sql", do_sql},
	        {"deploy", do_deploy},
	        {"note", do_note},
	        {"ws_open", do_ws_open},
	        {"ws_send", do_ws_send},
	        {"ws_expect", do_ws_expect},
	        {"ws_expect_close", do_ws_close},
	};
	const char *name = str(step, "do");
	if (is_trace(t, "35") && strcmp(name, "expect_end") == 0)
		return do_switch_end(t, step);
	if (is_trace(t, "35") && strcmp(name, "expect") == 0 && strcmp(str(step, "stream"), "t") == 0)
		return do_switch_expect(t, step);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (strcmp(steps[i].name, name) == 0)
			return steps[i].run(t, step);
	return differ(&t->match, "a step that is not understood: %s", name);
}

static bool run_steps(struct trace *t)
{
	for (t->at = 0; t->at < json_array_size(t->steps); t->at++) {
		json_t *step = json_array_get(t->steps, t->at), *lines = json_object_get(step, "lines");
		json_decref(t->expected);
		json_decref(t->got);
		t->expected = json_is_array(lines) ? json_copy(lines) : json_array();
		t->got = json_array();
		if (!do_step(t, step))
			return false;
	}
	if (is_trace(t, "32")) { /* wish: the socket is closed as "going away" */
		struct trace_stream *w = stream_find(t, "w");
		struct slice frame;
		while (ws_frame(w->ws, clock_mono_ms() + PATIENCE_MS, &frame) == GOT_IT)
			;
		return w->ws->close_code == 1001 || differ(&t->match, "close code %d instead of 1001", w->ws->close_code);
	}
	return true;
}

/* ---- cases ----------------------------------------------------------------------------------------------------------------------------------- */

static void print_lines(const char *title, json_t *lines)
{
	size_t i;
	json_t *line;
	printf("  %s:\n", title);
	json_array_foreach(lines, i, line)
	{
		char *text = json_dumps(line, JSON_COMPACT | JSON_ENCODE_ANY);
		printf("    %.1500s%s\n", text, strlen(text) > 1500 ? "..." : "");
		free(text);
	}
}

static bool world_begin(struct world *w, json_t *config, char *why, size_t size)
{
	const char *sync_config = text_of(config, "sync_config");
	bool configured = sync_config && *sync_config != '(';
	if (!world_source(w, text_of(config, "setup_sql"), why, size))
		return false;
	if (world_start(w, configured ? sync_config : NULL, text_of(config, "service_config")) && world_ready(w, configured))
		return true;
	snprintf(why, size, "the service does not get ready; its log ends as above");
	world_print_log(w);
	return false;
}

static void run_trace(const char *folder, const char *file, const struct world *base, struct tally *tally)
{
	json_t *document = load_file(folder, file), *config = load_file(folder, str(document, "config"));
	struct trace t = {.world = *base, .steps = json_object_get(document, "steps")};
	snprintf(t.name, sizeof(t.name), "%s", str(document, "name"));
	t.match = (struct match){.bound = json_object(), .owner = json_object(), .history = json_object()};
	bool ready = world_begin(&t.world, config, t.match.why, sizeof(t.match.why));
	bool ok = ready && run_steps(&t);
	tally->passed += ok;
	tally->skipped += !ok && t.skip;
	tally->failed += !ok && !t.skip;
	if (t.skip) {
		printf("SKIP %s: %s\n", t.name, t.skip);
	} else if (!ok) {
		printf("FAIL %s, step %zu: %s\n", t.name, t.at, t.match.why);
		print_lines("expected", t.expected);
		print_lines("got", t.got);
	}
	for (size_t i = 0; i < t.stream_count; i++)
		if (t.streams[i].model)
			stream_close(&t.streams[i]);
	world_stop(&t.world);
	world_drop_source(&t.world);
	json_decref(t.match.bound);
	json_decref(t.match.owner);
	json_decref(t.match.history);
	json_decref(t.expected);
	json_decref(t.got);
	json_decref(document);
	json_decref(config);
}

static bool negotiate(struct world *w, const char *header, const char *value, const char *answer, const char *expected,
                      char *came, size_t size)
{
	char *token = make_token("user1", 3600, "powersync-dev");
	struct buf b = {0};
	buf_printf(&b, "Authorization: Token %s\r\nContent-Type: application/json\r\n", token);
	if (value)
		buf_printf(&b, "%s: %s\r\n", header, value);
	buf_putc(&b, '\0');
	struct http *h = http_send(w->port, "POST", "/sync/stream", b.p, "{}");
	http_read_head(h, clock_mono_ms() + PATIENCE_MS);
	const char *v = http_header(h, answer, came, size);
	bool ok = h->status == 200 && (expected ? v && strcmp(v, expected) == 0 : !v);
	if (!v)
		snprintf(came, size, "none");
	http_close(h);
	free(token);
	buf_free(&b);
	return ok;
}

static void run_negotiation(const char *folder, const struct world *base, struct tally *tally)
{
	static const struct {
		const char *key, *header, *answer;
	} parts[] = {{"accept", "Accept", "content-type"}, {"accept_encoding", "Accept-Encoding", "content-encoding"}};
	json_t *document = load_file(folder, "negotiation.json"), *config = load_file(folder, "g2-empty.config.json"), *pair;
	struct world w = *base;
	char why[1024] = "", came[256];
	size_t i;
	bool ready = world_begin(&w, config, why, sizeof(why));
	if (!ready)
		printf("FAIL negotiation: %s\n", why);
	for (size_t k = 0; k < 2; k++)
		json_array_foreach(json_object_get(document, parts[k].key), i, pair)
		{
			const char *value = json_string_value(json_array_get(pair, 0)),
			           *expected = json_string_value(json_array_get(pair, 1));
			bool ok = ready && negotiate(&w, parts[k].header, value, parts[k].answer, expected, came, sizeof(came));
			tally->passed += ok;
			tally->failed += !ok;
			if (ready && !ok)
				printf("FAIL %s: %s\n  expected %s\n  got      %s\n", parts[k].header, value ? value : "(absent)",
				       expected ? expected : "none", came);
		}
	world_stop(&w);
	world_drop_source(&w);
	json_decref(document);
	json_decref(config);
}

static void check_sum(struct tally *tally, const char *what, size_t i, json_int_t expected, json_int_t got)
{
	tally->passed += expected == got;
	tally->failed += expected != got;
	if (expected != got)
		printf("FAIL checksum of %s %zu\n  expected %lld\n  got      %lld\n", what, i, (long long)expected,
		       (long long)got);
}

static void run_checksums(const char *folder, struct tally *tally)
{
	json_t *document = load_file(folder, "checksums.json"), *e, *op;
	size_t i, k;
	json_array_foreach(json_object_get(document, "put"), i, e)
	        check_sum(tally, "put", i, get_number(e, "checksum"), short_digest("", str(e, "hash_input")));
	json_t *r = json_object_get(document, "remove");
	json_array_foreach(r, i, e)
	        check_sum(tally, "remove", i, get_number(e, "checksum"), short_digest("delete.", str(e, "subkey")));
	json_array_foreach(json_object_get(document, "bucket_sums"), i, e)
	{
		uint32_t sum = 0;
		json_array_foreach(json_object_get(e, "ops"), k, op) sum +=
		        (uint32_t)(json_is_number(op) ? (json_int_t)json_number_value(op) : get_number(op, "checksum"));
		check_sum(tally, "sum", i, get_number(e, "wire_signed"), (int32_t)sum);
	}
	json_decref(document);
}

/* The recorded BSON documents of trace 13 through the decoder. */
static void run_decoder(const char *folder, struct tally *tally)
{
	json_t *document = load_file(folder, "13-bson-stream.json"), *hex;
	size_t i;
	json_array_foreach(json_object_get(document, "bson_hex"), i, hex)
	{
		struct buf bytes = {0}, text = {0};
		append_hex(&bytes, json_string_value(hex));
		bool whole = !strchr(json_string_value(hex), '.');
		bool ok = !whole || bson_to_json(slice_make(bytes.p, bytes.n), &text);
		tally->passed += ok;
		tally->failed += !ok;
		if (!ok)
			printf("FAIL decoder, document %zu\n", i);
		buf_free(&bytes);
		buf_free(&text);
	}
	json_decref(document);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_numbered(const struct dirent *d)
{
	return isdigit((unsigned char)d->d_name[0]) && isdigit((unsigned char)d->d_name[1]) && strstr(d->d_name, ".json");
}

static bool is_chosen(const char *name, int argc, char **argv)
{
	for (int i = 2; i < argc; i++)
		if (strncmp(name, argv[i], strlen(argv[i])) == 0)
			return true;
	return argc == 2;
}

static const char *find_binary(const char *program, char *out, size_t size)
{
	const char *given = getenv("SYNCLINE"), *slash = strrchr(program, '/');
	if (given && *given)
		return given;
	snprintf(out, size, "%.*s/../syncline", slash ? (int)(slash - program) : 1, slash ? program : ".");
	return out;
}

int main(int argc, char **argv)
{
	char binary[PATH_MAX];
	struct dirent **files;
	struct tally tally = {0};
	struct world base = {.server_uri = getenv("PG_URI")};
	if (argc < 2) {
		fprintf(stderr, "usage: sync-protocol-vectors FOLDER [NAME ...]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	base.binary = find_binary(argv[0], binary, sizeof(binary));
	bool can_run = base.server_uri && *base.server_uri;
	if (!can_run)
		printf("SKIP traces: PG_URI is not set (a Postgres server with wal_level=logical)\n");
	int count = scandir(argv[1], &files, is_numbered, by_name);
	for (int i = 0; i < count; i++) {
		bool input_only =
		        strncmp(files[i]->d_name, "33", 2) == 0; /* what a client sends; there are no lines to compare */
		if (!input_only && is_chosen(files[i]->d_name, argc, argv)) {
			if (can_run)
				run_trace(argv[1], files[i]->d_name, &base, &tally);
			else
				tally.skipped++;
		}
		free(files[i]);
	}
	if (count >= 0)
		free(files);
	if (is_chosen("negotiation", argc, argv)) {
		if (can_run)
			run_negotiation(argv[1], &base, &tally);
		else
			tally.skipped++;
	}
	if (is_chosen("checksums", argc, argv)) {
		run_checksums(argv[1], &tally);
		run_decoder(argv[1], &tally);
	}
	printf("%d passed, %d failed, %d skipped\n", tally.passed, tally.failed, tally.skipped);
	return tally.failed != 0;
}
