/*
 * storage_write: how fast rows go into the embedded store.
 *
 *   storage_write FOLDER [ROWS] [ROWS PER COMMIT] [ordered|random]
 *
 * Each row has a 560-byte JSON text that goes to two buckets: one for all, and one of a thousand. One thread, a durable commit per
 * batch, digests included. Then the store is read: the large bucket once, and random checksums. Prints one line per measurement.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "storage/storage.h"

static uint64_t state = 88172645463325252u;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void check(bool ok, const struct error *err)
{
	if (!ok) {
		fprintf(stderr, "%s\n", err->message);
		exit(1);
	}
}

static void write_rows(struct storage *s, size_t rows, size_t per_commit, bool random, struct error *err)
{
	char json[600], id[40], keys[32];
	uint64_t table_number;
	struct table_key_column key_column = {SLICE_INIT("id"), 25};
	struct table_identity identity = {SLICE_INIT("public"), SLICE_INIT("items"), 1, &key_column, 1};
	struct arena arena = {0};
	struct stored_table table;
	uint32_t *drop;
	size_t drop_count;
	check(storage_resolve_table(s, &identity, &arena, &table, &drop, &drop_count, err), err);
	table_number = table.number;
	memset(json, 'x', sizeof(json));
	int64_t start = clock_mono_us(), in_commit = 0;
	for (size_t i = 0; i < rows; i++) {
		uint64_t r = next_random();
		snprintf(id, sizeof(id), "%016llx-%015zx", random ? (unsigned long long)r : (unsigned long long)(i >> 4), i);
		snprintf(keys, sizeof(keys), "[\"list%llu\"]", (unsigned long long)(r % 1000));
		int n = snprintf(json, sizeof(json), "{\"id\":\"%s\",\"number\":%zu,\"text\":\"", id, i);
		json[n] = 'x';
		memcpy(json + 558, "\"}", 2);
		struct put_entry puts[2] = {{.definition = 1, .keys = SLICE("[]")}, {.definition = 2, .keys = slice_cstr(keys)}};
		for (int k = 0; k < 2; k++) {
			puts[k].object_type = SLICE("items");
			puts[k].object_id = slice_cstr(id);
			puts[k].data = slice_make(json, 560);
			put_entry_digest(&puts[k]);
		}
		struct row_key key = {.bytes = slice_cstr(id)};
		memcpy(key.uuid, &r, sizeof(r));
		struct row_contributions c = {.puts = puts, .put_count = 2};
		check(storage_write_row(s, (uint32_t)table_number, &key, NULL, &c, (struct slice){NULL, 0}, ROW_COMPARE, err),
		      err);
		if ((i + 1) % per_commit == 0 || i + 1 == rows) {
			bool durable;
			int64_t t = clock_mono_us();
			check(storage_commit(s, (struct position){0, i + 1}, false, &durable, err), err);
			in_commit += clock_mono_us() - t;
		}
	}
	double seconds = (double)(clock_mono_us() - start) / 1e6;
	printf("write: %zu rows, %zu a commit, %s keys: %.0f rows/s (%.2f s, of which commits %.2f s)\n", rows, per_commit,
	       random ? "random" : "ordered", (double)rows / seconds, seconds, (double)in_commit / 1e6);
	arena_free(&arena);
}

static void read_rows(struct storage *s, size_t rows, struct error *err)
{
	struct storage_reader *r = storage_read_begin(s, err);
	check(r != NULL, err);
	int64_t start = clock_mono_us();
	struct op_cursor *c = reader_ops(r, reader_bucket(r, 1, SLICE("[]")), 0, UINT64_MAX, err);
	struct op_view op;
	size_t count = 0, bytes = 0;
	while (op_cursor_next(c, &op, err) > 0) {
		count++;
		bytes += op.data.n;
	}
	op_cursor_close(c);
	double seconds = (double)(clock_mono_us() - start) / 1e6;
	printf("scan: %zu operations, %zu bytes of JSON: %.1f million/s\n", count, bytes, (double)count / seconds / 1e6);
	start = clock_mono_us();
	for (size_t i = 0; i < rows; i++) {
		struct bucket_checksum sum;
		char keys[32];
		snprintf(keys, sizeof(keys), "[\"list%llu\"]", (unsigned long long)(next_random() % 1000));
		check(reader_checksum(r, reader_bucket(r, 2, slice_cstr(keys)), UINT64_MAX, &sum, err), err);
	}
	seconds = (double)(clock_mono_us() - start) / 1e6;
	printf("checksums: %.1f million/s\n", (double)rows / seconds / 1e6);
	storage_read_end(r);
}

int main(int argc, char **argv)
{
	struct error err = {0};
	if (argc < 2) {
		fprintf(stderr, "usage: storage_write FOLDER [ROWS] [ROWS PER COMMIT] [ordered|random]\n");
		return 2;
	}
	size_t rows = argc > 2 ? strtoul(argv[2], NULL, 10) : 200000, per_commit = argc > 3 ? strtoul(argv[3], NULL, 10) : 10000;
	bool random = argc > 4 && strcmp(argv[4], "random") == 0;
	struct log log = {.level = LOG_INFO, .fd = 2};
	struct storage_options options = {.path = slice_cstr(argv[1]), .request_retention_ms = 3600000, .log = &log};
	struct storage *s = storage_open_lmdb(&options, &err);
	check(s != NULL, &err);
	write_rows(s, rows, per_commit ? per_commit : 1, random, &err);
	read_rows(s, rows, &err);
	storage_close(s);
	return 0;
}
