/*
 * storage-vectors: runs the storage scenarios (tests/data/vectors/storage/README.md) over the embedded store, or with -p over the shared
 * layout, in a database of its own for each scenario on the server of PG_URI (without one, nothing is run).
 *
 *   storage-vectors FOLDER [-p] [-v] [SCENARIO]
 *
 * The embedded store has one sync config at a time and numbers definitions, so bucket names compare without their number, and the
 * scenarios of whole-version deploys are not for it. What the replication engine does in Syncline (blocking until a snapshot is done,
 * merging of values that were not sent) is done here in the shortest way. Op ids are mapped: the same order, not the same numbers. On the
 * shared layout stored rows, counts and write checkpoints are compared as they stand in the tables.
 *
 * Every place where the recorded answer is not the wanted one stands in `deviations`; a difference elsewhere fails, and so does a
 * deviation that is not one any more.
 */
#include "storage_read_steps.h"
#include "storage_request_steps.h"
#include "storage_run.h"
#include "storage_write_steps.h"

/* ---- what is left out, and why ---- */

enum stores { EMBEDDED = 1, SHARED = 2, BOTH = 3 };

static const struct {
	enum stores stores;
	const char *scenario; /* or its beginning, with a '*' */
	const char *why;
} not_applicable[] = {
        {EMBEDDED, "shared-*", "several streams, replica ids that are no UUIDs, truncates in the recorded order"},
        {EMBEDDED, "version-*", "whole-version deploys are for the shared layouts"},
        {EMBEDDED, "checkpoint-op-ids-across-streams", "whole-version deploys are for the shared layouts"},
        {EMBEDDED, "write-checkpoint-before-activation", "whole-version deploys are for the shared layouts"},
};

static const struct {
	enum stores stores;
	const char *scenario;
	int step; /* 0-based */
	const char *why;
} deviations[] = {
        {EMBEDDED, "checkpoint-resume-position", 8,
         "the applied position lies with the data, of blocked commits as well (storage-semantics 6)"},
        {EMBEDDED, "checkpoint-snapshot-table-rules", 16,
         "the applied position lies with the data, of blocked commits as well (storage-semantics 6)"},
        {BOTH, "data-insert-over-existing", 8, "an insert over a stored row is an update (storage-semantics 5.3)"},
        {BOTH, "data-row-grows-too-large", 8, "a row that grows too large gets its REMOVEs (5.3)"},
        {BOTH, "data-row-grows-too-large", 12, "a row that grows too large gets its REMOVEs (5.3)"},
        {EMBEDDED, "streams-one-row-both-kinds", 8, "op ids within one flush are given row by row, as MongoDB storage does (4)"},
        {EMBEDDED, "truncate-and-reinsert", 14, "a truncate takes the rows in another order (5.4: any)"},
        {BOTH, "write-checkpoint-custom", 9,
         "an id shows with the checkpoint of the transaction that brought it (checkpoint-requests 7)"},
        {SHARED, "write-checkpoint-custom", 18, "an id survives a deploy that keeps the event (checkpoint-requests 7)"},
        {BOTH, "write-checkpoint-generated", 10,
         "a generated id never has a smaller head than those before it (checkpoint-requests 3)"},
        {BOTH, "write-checkpoint-generated", 12,
         "a generated id never has a smaller head than those before it (checkpoint-requests 3)"},
        {BOTH, "write-checkpoint-generated", 7, "an older, passed id while a newer one is pending (checkpoint-requests 3)"},
        {BOTH, "write-checkpoint-retention", 16, "a generated id starts above a removed one (checkpoint-requests 5)"},
        {BOTH, "write-checkpoint-supplied", 14, "an older, passed id while a newer one is pending (checkpoint-requests 3)"},
};

static bool do_nothing(struct run *r, json_t *step)
{
	(void)r;
	(void)step;
	return true;
}

/* do_nothing: the form of the shared layouts, or the replication engine's. */
static const struct {
	const char *name;
	bool (*run)(struct run *r, json_t *step);
} steps[] = {{"deploy", do_deploy},
             {"configure", do_configure},
             {"clear", do_clear},
             {"terminate", do_terminate},
             {"writer", do_writer},
             {"close_writer", do_nothing},
             {"resolve_table", do_resolve_table},
             {"save", do_save},
             {"save_many", do_save_many},
             {"flush", do_flush},
             {"commit", do_commit},
             {"keepalive", do_commit},
             {"mark_all_snapshot_done", do_mark_all_snapshot_done},
             {"mark_snapshot_done", do_mark_snapshot_done},
             {"mark_table_snapshot_done", do_table_done},
             {"mark_table_snapshot_required", do_table_required},
             {"set_resume_lsn", do_set_resume},
             {"write_checkpoint_mode", do_custom_mode},
             {"table_progress", do_table_progress},
             {"table_status", do_table_status},
             {"truncate", do_truncate},
             {"drop", do_truncate},
             {"read", do_read},
             {"checksums", do_checksums},
             {"parameters", do_parameters},
             {"checkpoint", do_checkpoint},
             {"request_checkpoints", do_request_checkpoints},
             {"last_write_checkpoint", do_last_write_checkpoint},
             {"age_requests", do_age_requests},
             {"compact", do_compact},
             {"write_checkpoints", do_write_checkpoints},
             {"custom_write_checkpoint", do_custom_checkpoint},
             {"watch", do_watch},
             {"watch_next", do_watch},
             {"missing", do_nothing},
             {"current_data", do_current_data},
             {"counts", do_counts},
             {"streams", do_streams},
             {"report_error", do_report_error},
             {"status", do_status}};

/* ---- scenarios ---- */

static const char *why_not(enum stores store, const char *scenario)
{
	for (size_t i = 0; i < sizeof(not_applicable) / sizeof(*not_applicable); i++) {
		const char *name = not_applicable[i].scenario, *star = strchr(name, '*');
		if ((not_applicable[i].stores & store) == 0)
			continue;
		if (star ? strncmp(name, scenario, (size_t)(star - name)) == 0 : strcmp(name, scenario) == 0)
			return not_applicable[i].why;
	}
	return NULL;
}

static const char *deviation(enum stores store, const char *scenario, int step)
{
	for (size_t i = 0; i < sizeof(deviations) / sizeof(*deviations); i++)
		if ((deviations[i].stores & store) && deviations[i].step == step && strcmp(deviations[i].scenario, scenario) == 0)
			return deviations[i].why;
	return NULL;
}

static void open_embedded(struct run *r)
{
	snprintf(r->folder, sizeof(r->folder), "%s/syncline-vectors-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(r->folder)) {
		perror(r->folder);
		exit(1);
	}
	struct storage_options o = {
	        .path = slice_cstr(r->folder), .map_size = (uint64_t)1 << 30, .request_retention_ms = 3600000, .log = &r->log};
	r->on = &r->streams[r->stream_count++];
	*r->on = (struct run_stream){.name = "s1", .images = true};
	r->on->s = storage_open_lmdb(&o, &r->err);
	must(r, r->on->s != NULL);
	r->on->s->wall_ms = shifted_clock;
}

static void open_run(struct run *r)
{
	static int number;
	r->log = (struct log){.level = LOG_ERROR, .fd = 2};
	if (r->shared)
		open_shared(r, ++number);
	else
		open_embedded(r);
}

static void close_embedded(struct run *r)
{
	static const char *const files[] = {"data.mdb", "data.mdb-lock", "requests.mdb", "requests.mdb-lock", "lock"};
	char path[128];
	storage_close(r->on->s);
	plan_unref(r->on->plan);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", r->folder, files[i]);
		unlink(path);
	}
	rmdir(r->folder);
}

static void close_run(struct run *r)
{
	if (r->shared)
		close_shared(r);
	else
		close_embedded(r);
	arena_free(&r->arena);
}

/* What a step names, a stream or one of its writers; else the first one. */
static struct run_stream *stream_of(struct run *r, json_t *step)
{
	const char *stream = text_of(step, "stream"), *writer = text_of(step, "writer");
	for (size_t i = 0; stream && i < r->stream_count; i++)
		if (strcmp(r->streams[i].name, stream) == 0)
			return &r->streams[i];
	for (size_t i = 0; !stream && writer && i < r->writer_count; i++)
		if (strcmp(r->writers[i].name, writer) == 0)
			return r->writers[i].stream;
	return &r->streams[0];
}

static bool run_step(struct run *r, json_t *step)
{
	const char *name = text_of(step, "do");
	r->on = stream_of(r, step);
	for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
		if (strcmp(steps[i].name, name) == 0)
			return steps[i].run(r, step);
	return differ(r, "unknown step %s", name);
}

static bool run_scenario(const char *name, json_t *scenario, bool shared, bool verbose)
{
	struct run *r = xcalloc(1, sizeof(*r));
	json_t *step;
	size_t i;
	bool ok = true;
	r->shared = shared;
	r->steps = json_object_get(scenario, "steps");
	open_run(r);
	json_array_foreach(json_object_get(scenario, "steps"), i, step)
	{
		if (strcmp(text_of(step, "do"), "commit") == 0)
			r->final_lsn = lsn_of(text_of(step, "lsn"));
		r->custom |= strcmp(text_of(step, "do"), "write_checkpoint_mode") == 0;
	}
	json_array_foreach(json_object_get(scenario, "steps"), i, step)
	{
		if (r->over) {
			if (verbose)
				printf("  %s: not run from step %zu on: a second deploy\n", name, i);
			break;
		}
		const char *allowed = deviation(shared ? SHARED : EMBEDDED, name, (int)i);
		r->at = i;
		bool same = run_step(r, step);
		if (same && allowed) {
			printf("FAILED %s step %zu (%s): listed as a deviation, but it is none\n", name, i, text_of(step, "do"));
			ok = false;
		} else if (!same && !allowed) {
			printf("FAILED %s step %zu (%s): %s\n", name, i, text_of(step, "do"), r->why);
			ok = false;
		} else if (!same && verbose) {
			printf("  %s step %zu: %s\n", name, i, allowed);
		}
	}
	close_run(r);
	free(r);
	return ok;
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int passed = 0, failed = 0, skipped = 0;
	bool shared = argc > 2 && strcmp(argv[2], "-p") == 0;
	bool verbose = argc > 2 + shared && strcmp(argv[2 + shared], "-v") == 0;
	const char *only = argc > 2 + shared + verbose ? argv[2 + shared + verbose] : NULL;
	int count = argc > 1 ? scandir(argv[1], &entries, NULL, alphasort) : -1;
	if (shared && !getenv("PG_URI")) {
		printf("0 passed, 0 failed, all not applicable: PG_URI is not set\n");
		return 0;
	}
	if (count < 0) {
		fprintf(stderr, "usage: storage-vectors FOLDER [-p] [-v] [SCENARIO]\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		char path[4096], name[256];
		struct slice file = slice_cstr(entries[i]->d_name);
		snprintf(name, sizeof(name), "%.*s", (int)(file.n > 5 ? file.n - 5 : 0), file.p);
		if (slice_ends(file, SLICE(".json")) && (!only || strcmp(only, name) == 0)) {
			snprintf(path, sizeof(path), "%s/%s", argv[1], entries[i]->d_name);
			json_t *scenario = json_load_file(path, JSON_ALLOW_NUL, NULL);
			const char *why = why_not(shared ? SHARED : EMBEDDED, name);
			if (!scenario) {
				printf("FAILED %s: not JSON\n", name);
				failed++;
			} else if (why) {
				if (verbose)
					printf("  %s: not applicable: %s\n", name, why);
				skipped++;
			} else if (run_scenario(name, scenario, shared, verbose)) {
				passed++;
			} else {
				failed++;
			}
			json_decref(scenario);
		}
		free(entries[i]);
	}
	free(entries);
	printf("%d passed, %d failed, %d not applicable\n", passed, failed, skipped);
	return failed > 0;
}
