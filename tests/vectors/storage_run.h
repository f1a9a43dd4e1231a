/* storage_run.h: one run of a storage scenario: the store, op ids by their order, values and keys. */
#ifndef TESTS_VECTORS_STORAGE_RUN_H
#define TESTS_VECTORS_STORAGE_RUN_H

#include <dirent.h>
#include <jansson.h>
#include <libpq-fe.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "rules/rules.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/internal.h"

/* ---- a run ---- */

struct id_pair {
	uint64_t expected, actual;
};

struct run_table {
	char name[64], source[64]; /* in the scenario, and at the source */
	char id[40];               /* of its record */
	uint32_t number;
	bool complete_rows;
};

#define RUN_STREAMS 6
#define RUN_TABLES 32

/* One replication stream, with a writer of its own: on the shared layout a storage object of its own, as if it were another process'. */
struct run_stream {
	char name[16];
	struct storage *s;
	struct plan *plan;
	int32_t id; /* on the shared layout */
	bool images, snapshot_done;
	bool all_done;            /* the scenario said so without looking at tables */
	char skipping_writer[16]; /* leaves rows alone that are stored */
	bool refused;             /* it was given something else than an insert */
	bool has_last, has_before;
	uint64_t last_lsn, before_lsn;
	struct run_table tables[RUN_TABLES];
	size_t table_count;
	bool dirty;
	size_t queued; /* saves since the last flush: the recorded writer flushes by itself at 2000 */
};

struct run {
	struct run_stream streams[RUN_STREAMS], *on; /* on: that of the step */
	size_t stream_count;
	struct {
		char name[16];
		struct run_stream *stream;
	} writers[8];
	size_t writer_count;
	bool shared; /* on the shared layout: folder is the database's name */
	PGconn *sql;
	struct log log;
	char folder[64];
	struct arena arena;
	struct error err;
	bool custom; /* the scenario switches custom write checkpoints on */
	bool over;   /* what comes now is for the shared layouts alone */
	struct id_pair ops[4096], checkpoints[256];
	size_t op_count, checkpoint_count;
	struct {
		char name[16], user[64];
		char checkpoint[32], id[32];
	} watches[4];
	size_t watch_count;
	json_t *steps;
	size_t at;          /* the step */
	uint64_t final_lsn; /* of the scenario's last commit */
	char why[8192];     /* of the last difference */
};

static int64_t wall_offset;

static int64_t shifted_clock(void)
{
	return clock_wall_ms() + wall_offset;
}

static bool differ(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool differ(struct run *r, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(r->why, sizeof(r->why), format, args);
	va_end(args);
	return false;
}

static void must(struct run *r, bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "storage: %s\n", r->err.message);
	exit(1);
}

static const char *text_of(json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static uint64_t lsn_of(const char *text)
{
	uint64_t lsn = 0;
	if (text && !lsn_parse(slice_cstr(text), &lsn)) {
		fprintf(stderr, "not a position: %s\n", text);
		exit(1);
	}
	return lsn;
}

static uint64_t number_of(json_t *v)
{
	uint64_t n = 0;
	if (json_is_string(v))
		slice_parse_u64(slice_cstr(json_string_value(v)), UINT64_MAX, &n);
	else
		n = (uint64_t)json_integer_value(v);
	return n;
}

/* ---- ids: the same order, not the same numbers ---- */

static bool pair_op(struct run *r, uint64_t expected, uint64_t actual)
{
	if (r->shared && expected != actual)
		return differ(r, "op %llu instead of %llu", (unsigned long long)actual, (unsigned long long)expected);
	for (size_t i = 0; i < r->op_count; i++) {
		const struct id_pair *p = &r->ops[i];
		if ((p->expected < expected) != (p->actual < actual) || (p->expected == expected) != (p->actual == actual))
			return differ(r, "op %llu is where %llu was recorded: another order", (unsigned long long)actual,
			              (unsigned long long)expected);
	}
	if (r->op_count < sizeof(r->ops) / sizeof(*r->ops))
		r->ops[r->op_count++] = (struct id_pair){expected, actual};
	return true;
}

static bool pair_checkpoint(struct run *r, uint64_t expected, uint64_t actual)
{
	if (r->shared && expected != actual)
		return differ(r, "checkpoint %llu instead of %llu", (unsigned long long)actual, (unsigned long long)expected);
	if (r->checkpoint_count < sizeof(r->checkpoints) / sizeof(*r->checkpoints))
		r->checkpoints[r->checkpoint_count++] = (struct id_pair){expected, actual};
	for (size_t i = 0; i < r->checkpoint_count; i++)
		for (size_t k = 0; k < r->op_count; k++)
			if ((r->ops[k].expected <= r->checkpoints[i].expected) != (r->ops[k].actual <= r->checkpoints[i].actual))
				return differ(r, "checkpoint %llu shows other operations than the recorded %llu",
				              (unsigned long long)r->checkpoints[i].actual,
				              (unsigned long long)r->checkpoints[i].expected);
	return true;
}

/* Was the operation seen, so that its id is known here? */
static bool is_paired(const struct run *r, uint64_t expected)
{
	for (size_t i = 0; i < r->op_count; i++)
		if (r->ops[i].expected == expected)
			return true;
	return r->shared;
}

/* A recorded id as one of ours. */
static uint64_t translate(const struct run *r, uint64_t expected)
{
	uint64_t best = 0, actual = expected;
	for (size_t i = 0; i < r->op_count; i++)
		if (r->ops[i].expected <= expected && r->ops[i].expected >= best) {
			best = r->ops[i].expected;
			actual = r->ops[i].actual + (expected - best);
		}
	for (size_t i = 0; i < r->checkpoint_count; i++)
		if (r->checkpoints[i].expected == expected)
			actual = r->checkpoints[i].actual;
	return actual;
}

/* ---- values ---- */

static json_t *part(json_t *v, const char *key)
{
	return json_is_object(v) ? json_object_get(v, key) : NULL;
}

static struct value value_of(struct run *r, json_t *v)
{
	json_t *p;
	if (json_is_string(v))
		return value_text(slice_make(json_string_value(v), json_string_length(v)));
	if (json_is_null(v))
		return value_null();
	if ((p = part(v, "int")))
		return value_integer(strtoll(json_string_value(p), NULL, 10));
	if ((p = part(v, "real")))
		return value_real(json_number_value(p));
	if ((p = part(v, "hex"))) {
		size_t n = json_string_length(p) / 2;
		char *bytes = arena_bytes(&r->arena, n);
		for (size_t i = 0; i < n; i++) {
			unsigned byte;
			sscanf(json_string_value(p) + 2 * i, "%2x", &byte);
			bytes[i] = (char)byte;
		}
		return value_blob(slice_make(bytes, n));
	}
	if ((p = part(v, "repeat"))) {
		size_t n = (size_t)json_integer_value(json_array_get(p, 1));
		char *bytes = arena_bytes(&r->arena, n);
		memset(bytes, json_string_value(json_array_get(p, 0))[0], n);
		return value_text(slice_make(bytes, n));
	}
	return (struct value){.kind = VALUE_UNKNOWN};
}

static void bson_element(struct buf *b, const char *name, const struct value *v)
{
	static const uint8_t zero;
	uint8_t type = v->kind == VALUE_TEXT ? 0x02 : v->kind == VALUE_INTEGER ? 0x12 : v->kind == VALUE_REAL ? 0x01 : 0x0a;
	buf_putc(b, (char)type);
	buf_append(b, name, strlen(name) + 1);
	if (v->kind == VALUE_TEXT) {
		uint32_t n = (uint32_t)v->s.n + 1;
		buf_append(b, &n, 4);
		buf_slice_append(b, v->s);
		buf_append(b, &zero, 1);
	} else if (v->kind == VALUE_INTEGER) {
		buf_append(b, &v->i, 8);
	} else if (v->kind == VALUE_REAL) {
		buf_append(b, &v->r, 8);
	}
}

/* UUID version 5 of the BSON document of the key's columns (storage-semantics 3). */
static void key_uuid(struct run *r, json_t *key, uint8_t uuid[16])
{
	static const uint8_t namespace[16] = {0xa3, 0x96, 0xdd, 0x91, 0x09, 0xfc, 0x40, 0x17,
	                                      0xa2, 0x8d, 0x3d, 0xf7, 0x22, 0xf6, 0x51, 0xe9};
	struct buf b = {0};
	uint8_t hash[32];
	unsigned n;
	const char *name;
	json_t *v;
	buf_append(&b, namespace, 16);
	buf_append(&b, "\0\0\0\0", 4);
	json_object_foreach(key, name, v)
	{
		struct value x = value_of(r, v);
		bson_element(&b, name, &x);
	}
	buf_append(&b, "", 1);
	uint32_t size = (uint32_t)b.n - 16;
	memcpy(b.p + 16, &size, 4);
	EVP_Digest(b.p, b.n, hash, &n, EVP_sha1(), NULL);
	memcpy(uuid, hash, 16);
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x50);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
	buf_free(&b);
}

static struct row_key row_key_of(struct run *r, const char *table_id, json_t *id)
{
	struct row_key k = {.bytes = {"", 0}};
	char *text = json_dumps(id, JSON_COMPACT | JSON_ENCODE_ANY);
	k.bytes = arena_copy(&r->arena, slice_cstr(text));
	free(text);
	if (part(id, "key")) {
		key_uuid(r, json_object_get(id, "key"), k.uuid);
	} else if (part(id, "uuid")) {
		const char *p = text_of(id, "uuid");
		for (int i = 0; i < 16; p += *p == '-')
			for (unsigned byte; i < 16 && *p != '-'; p += 2, i++) {
				sscanf(p, "%2x", &byte);
				k.uuid[i] = (uint8_t)byte;
			}
	} else {
		/* The replica id itself, of a source that has no UUIDs: its subkey is made of {table, id}. */
		json_t *document = json_pack("{s:s,s:O}", "table", table_id, "id", id);
		key_uuid(r, document, k.uuid);
		json_decref(document);
		struct value *replica_id = arena_array(&r->arena, struct value, 1);
		*replica_id = value_of(r, id);
		k.replica_id = replica_id;
		k.uuid_alone = true;
	}
	return k;
}

#endif
