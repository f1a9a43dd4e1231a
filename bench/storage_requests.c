/*
 * storage_requests: how fast checkpoint requests are stored and read.
 *
 *   storage_requests FOLDER [SECONDS PER MEASUREMENT]
 *   storage_requests postgresql://... [SECONDS PER MEASUREMENT]   an empty database: the shared layout is made in it
 *
 * 100,000 users; batches of 1, 4, 16, 64, 256 and 1024 new ids (a durable commit each), then retries (no write), then reads of the
 * acknowledged id as a session makes them. Prints requests per second.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/storage.h"

enum { USERS = 100000, LARGEST = 1024 };

static char names[USERS][16];
static struct checkpoint_request batch[LARGEST];

static void check(bool ok, const struct error *err)
{
	if (!ok) {
		fprintf(stderr, "%s\n", err->message);
		exit(1);
	}
}

static struct user_key user(size_t i)
{
	return (struct user_key){slice_cstr(names[i % USERS]), SLICE_INIT("device")};
}

static void measure_requests(struct storage *s, size_t size, bool retry, double seconds, struct error *err)
{
	static uint64_t id = 1;
	int64_t start = clock_mono_us(), end = start + (int64_t)(seconds * 1e6);
	size_t done = 0, at = 0;
	id += !retry;
	while (clock_mono_us() < end) {
		for (size_t i = 0; i < size; i++, at = (at + 7919) % USERS)
			batch[i] = (struct checkpoint_request){.user = user(at), .id = retry ? 1 : id + done / USERS};
		check(storage_request_checkpoints(s, batch, size, true, (struct position){0, 1000 + done}, err), err);
		done += size;
	}
	printf("%s, batches of %zu: %.0f requests/s\n", retry ? "stale ids" : "new ids", size,
	       (double)done / ((double)(clock_mono_us() - start) / 1e6));
	id += done / USERS;
}

static void *connect_to(void *uri, struct error *err)
{
	PGconn *pg = PQconnectdb(uri);
	if (PQstatus(pg) == CONNECTION_OK)
		return pg;
	error_set(err, "", "%s", PQerrorMessage(pg));
	PQfinish(pg);
	return NULL;
}

int main(int argc, char **argv)
{
	struct error err = {0};
	if (argc < 2) {
		fprintf(stderr, "usage: storage_requests FOLDER|URI [SECONDS PER MEASUREMENT]\n");
		return 2;
	}
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 2;
	struct log log = {.level = LOG_INFO, .fd = 2};
	struct storage_options options = {.path = slice_cstr(argv[1]), .request_retention_ms = 3600000, .log = &log};
	bool shared = strncmp(argv[1], "postgres", 8) == 0;
	options.postgres = (struct storage_postgres){.connect = connect_to, .connect_ctx = argv[1]};
	struct storage *s = shared ? storage_open_postgres(&options, &err) : storage_open_lmdb(&options, &err);
	check(s != NULL, &err);
	for (size_t i = 0; i < USERS; i++)
		snprintf(names[i], sizeof(names[i]), "user-%zu", i);
	for (size_t i = 0; i < USERS; i += LARGEST) {
		size_t n = USERS - i < LARGEST ? USERS - i : LARGEST;
		for (size_t k = 0; k < n; k++)
			batch[k] = (struct checkpoint_request){.user = user(i + k), .id = 1};
		check(storage_request_checkpoints(s, batch, n, true, (struct position){0, 1000}, &err), &err);
	}
	for (size_t size = 1; size <= LARGEST; size *= 4)
		measure_requests(s, size, false, seconds, &err);
	measure_requests(s, 16, true, seconds, &err);
	int64_t start = clock_mono_us();
	size_t reads = 0;
	for (; clock_mono_us() - start < (int64_t)(seconds * 1e6); reads++) {
		struct user_key u = user(reads * 7919);
		storage_write_checkpoint(s, &u, (struct position){0, UINT64_MAX});
	}
	printf("reads: %.0f /s\n", (double)reads / ((double)(clock_mono_us() - start) / 1e6));
	storage_close(s);
	return 0;
}
