/*
 * compact.c: takes away history that no client needs. By the service that runs on the store, if one does, else on the store itself.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "cli/cli.h"
#include "cli/compact_order.h"
#include "cli/control.h"
#include "cli/progress.h"
#include "cli/shared_store.h"
#include "cli/storage_folder.h"
#include "cli/wiring.h"
#include "storage/store_lock.h"

static const char help[] =
        "Usage: syncline compact [-b NAMES] [-p] [OPTIONS]\n\n"
        "Takes away history that no client needs: superseded operations of buckets, older results of parameter lookups, data of\n"
        "definitions that no sync config uses any more, and expired checkpoint requests. Works beside the running service "
        "(through\n"
        "it), and without one. Interrupted, what was done stays done. Without one it stops early when a service is started.\n"
        "Exit code 0: done; 1: it failed or stopped early, or a bucket name is not complete; 150: the configuration is bad.\n\n"
        "  -b, --buckets NAMES        only these buckets, full names separated by commas: 1#global[],2#by_user[\"u1\"]; none\n"
        "                             with an empty text. Lookups are then left out\n"
        "  -p, --parameter-indexes    lookups as well\n"
        "      --no-parameter-indexes no lookups\n"
        "      --incremental-only     leaves out buckets in which little can be gained\n"
        "      --defragment           also write rows again that never change and lie before much that cannot be cleared; "
        "clients\n"
        "                             receive them once more. Needs the running service; the next compaction clears\n"
        "      --margin SECONDS       beside a running service: checkpoints handed out in so many last seconds stay valid (120,\n"
        "                             which is the most). With 0 a client in the middle of an older one goes on to the newest\n"
        "      --json                 as JSON\n";

struct request {
	const char *names, *margin;
	bool lookups, no_lookups, incremental, defragment, json;
};

/* ---- the order ---- */

/* Length of the first name: up to a comma that is in no brackets and in no string of them. */
static size_t name_length(const char *text)
{
	size_t i = 0;
	int depth = 0;
	bool quoted = false;
	for (; text[i] && (depth > 0 || quoted || text[i] != ','); i++) {
		if (quoted && text[i] == '\\' && text[i + 1])
			i++;
		else if (text[i] == '"' && depth > 0)
			quoted = !quoted;
		else if (!quoted)
			depth += text[i] == '[' ? 1 : text[i] == ']' && depth > 0 ? -1 : 0;
	}
	return i;
}

/* NULL with an error if a name is not complete. */
static json_t *read_names(const char *text, struct error *err)
{
	json_t *names = json_array();
	while (*text) {
		struct slice name = slice_make(text, name_length(text));
		json_t *value = json_stringn(name.p, name.n);
		if (!bucket_name_is_full(name) || !value) {
			json_decref(value);
			json_decref(names);
			error_set(err, "", "'%.*s' is no full bucket name: it must have the parameters, as in 1#global[]",
			          (int)name.n, name.p);
			return NULL;
		}
		json_array_append_new(names, value);
		text += name.n + (text[name.n] == ',');
	}
	return names;
}

static json_t *make_order(const struct request *r, struct error *err)
{
	uint64_t margin_s = COMPACT_DEFAULT_MARGIN_MS / 1000;
	if (r->margin && !slice_parse_u64(slice_cstr(r->margin), COMPACT_DEFAULT_MARGIN_MS / 1000, &margin_s)) {
		error_set(err, "", "--margin takes whole seconds from 0 to %d", COMPACT_DEFAULT_MARGIN_MS / 1000);
		return NULL;
	}
	json_t *names = r->names ? read_names(r->names, err) : json_array();
	if (!names)
		return NULL;
	bool buckets = !r->names || json_array_size(names) > 0;
	bool lookups = r->no_lookups ? false : r->lookups || !r->names;
	return json_pack("{s:s,s:b,s:o,s:b,s:b,s:b,s:I}", "command", "compact", "buckets", buckets, "names", names, "lookups",
	                 lookups, "incremental", r->incremental, "defragment", r->defragment, "margin_ms",
	                 (json_int_t)margin_s * 1000);
}

/* ---- progress and result ---- */

static json_int_t number(const json_t *values, const char *key)
{
	return json_integer_value(json_object_get(values, key));
}

static void on_progress(void *ctx, const json_t *values)
{
	double part = number(values, "total") ? (double)number(values, "walked") / (double)number(values, "total") : 0;
	progress_show(ctx, part, "%lld operations superseded, %lld cleared, %lld lookup entries removed", number(values, "moved"),
	              number(values, "cleared"), number(values, "lookups"));
}

static void print_result(const struct request *r, json_t *done)
{
	if (r->json) {
		json_object_set_new(done, "ok", json_true());
		cli_print_json(done);
		return;
	}
	if (json_is_true(json_object_get(done, "service_waits")))
		printf("Stopped early: a service waits for the store. Run it again to do the rest through the service.\n");
	printf("%s %lld buckets: %lld operations superseded, %lld cleared, %lld lookup entries and %lld leftovers removed, %lld "
	       "bytes "
	       "free for use, %.1f s\n",
	       json_is_true(json_object_get(done, "stopped")) ? "Interrupted after" : "Compacted", number(done, "buckets"),
	       number(done, "moved"), number(done, "cleared"), number(done, "lookups"), number(done, "dropped"),
	       number(done, "bytes_freed"), json_real_value(json_object_get(done, "seconds")));
	if (number(done, "unknown"))
		printf("%lld of the names are of no bucket\n", number(done, "unknown"));
	json_decref(done);
}

/* ---- without a service ---- */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

struct work {
	struct progress *bar;
	const char *folder; /* of the embedded store; NULL: another */
	bool wanted;        /* a service waits for the store, and goes first: nothing is lost by an early end */
};

static bool may_go_on(void *ctx)
{
	struct work *w = ctx;
	w->wanted = w->wanted || (w->folder && store_lock_is_wanted(w->folder));
	return !interrupted && !w->wanted;
}

static void take_progress(void *ctx, json_t *values)
{
	struct work *w = ctx;
	on_progress(w->bar, values);
	json_decref(values);
}

static bool store_exists(const struct config *config)
{
	char path[4200];
	snprintf(path, sizeof(path), "%s/data.mdb", config->storage.path);
	return access(path, F_OK) == 0;
}

/* No client is served: every checkpoint but the newest is over. */
static json_t *compact_here(const struct config *config, const json_t *order, const struct log *log, struct progress *bar,
                            struct error *err)
{
	struct storage_options options = wiring_storage_options(config, log);
	struct work work = {.bar = bar, .folder = config->storage.path};
	struct compact_way way = {.go_on = may_go_on, .progress = take_progress, .ctx = &work};
	struct sigaction action = {.sa_handler = on_signal};
	options.command = "compact";
	if (!store_exists(config))
		return json_pack("{s:i,s:b}", "buckets", 0, "stopped", 0);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	struct storage *storage = storage_open_lmdb(&options, err);
	json_t *done = storage ? compact_order_run(storage, order, &way, err) : NULL;
	storage_close(storage);
	if (done && work.wanted && json_is_true(json_object_get(done, "stopped")))
		json_object_set_new(done, "service_waits", json_true());
	return done;
}

/* ---- a shared store ---- */

/* Services have it in use; each step is good for them as well. */
static json_t *compact_shared(const struct config *config, const json_t *order, const struct log *log, struct progress *bar,
                              struct error *err)
{
	struct work work = {.bar = bar};
	struct compact_way way = {.in_use = true, .go_on = may_go_on, .progress = take_progress, .ctx = &work};
	struct sigaction action = {.sa_handler = on_signal};
	struct shared_store store;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	json_t *done = shared_store_open(&store, config, log, err) ? compact_order_run(store.storage, order, &way, err) : NULL;
	shared_store_close(&store);
	return done;
}

/* ---- the command ---- */

/* A service that is about to listen, or to end, holds the store without answering. */
#define BETWEEN_MS 10000

static json_t *compact(const struct config *config, json_t *order, const struct log *log, struct progress *bar, struct error *err)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	int64_t until = clock_mono_ms() + BETWEEN_MS;
	for (;;) {
		json_t *done = NULL;
		err->code = "";
		if (control_call(config->storage.path, json_incref(order), on_progress, bar, &done, err) != CONTROL_ABSENT)
			return done;
		done = compact_here(config, order, log, bar, err);
		if (done || strcmp(err->code, "PSYNC_S1003") != 0 || clock_mono_ms() > until)
			return done;
		nanosleep(&pause, NULL);
	}
}

static int run(const struct config *config, const struct request *r, json_t *order)
{
	struct error err = {.code = ""};
	struct log log = {.level = LOG_WARN, .json = config->logging.json, .fd = STDERR_FILENO};
	struct progress bar = progress_begin("Compacting", r->json);
	json_t *done = is_shared_store(config) ? compact_shared(config, order, &log, &bar, &err)
	                                       : compact(config, order, &log, &bar, &err);
	progress_clear(&bar);
	if (!done)
		return cli_fail("compact", r->json, 1, &err);
	int code = json_is_true(json_object_get(done, "stopped")) ? 1 : 0;
	print_result(r, done);
	return code;
}

/* A bare -b means none, as an empty one does: it gets its value here. */
static char **with_values(int argc, char **argv)
{
	static char none[] = "--buckets=";
	char **out = xcalloc((size_t)argc + 1, sizeof(*out));
	for (int i = 0; i < argc; i++) {
		bool named = strcmp(argv[i], "-b") == 0 || strcmp(argv[i], "--buckets") == 0;
		out[i] = named && (i + 1 == argc || argv[i + 1][0] == '-') ? none : argv[i];
	}
	return out;
}

int cli_compact(int argc, char **argv)
{
	struct config_arguments arguments = {0};
	struct request r = {0};
	struct error err = {.code = ""};
	int code;
	const struct cli_option options[] = {
	        {"-b", "--buckets", .value = &r.names},
	        {"-p", "--parameter-indexes", .flag = &r.lookups},
	        {.long_name = "--no-parameter-indexes", .flag = &r.no_lookups},
	        {.long_name = "--incremental-only", .flag = &r.incremental},
	        {.long_name = "--defragment", .flag = &r.defragment},
	        {.long_name = "--margin", .value = &r.margin},
	        {.long_name = "--json", .flag = &r.json},
	        {.long_name = NULL},
	};
	char **words = with_values(argc, argv);
	bool parsed =
	        cli_parse(&(struct cli_syntax){.command = "compact", .help = help, .options = options, .config = &arguments},
	                  argc, words, &code);
	free(words);
	if (!parsed)
		return code;
	json_t *order = make_order(&r, &err);
	if (!order)
		return cli_fail("compact", r.json, 1, &err);
	struct config *config = cli_load("compact", &arguments, r.json, &code);
	if (config) {
		code = run(config, &r, order);
		config_free(config);
	}
	json_decref(order);
	return code;
}
