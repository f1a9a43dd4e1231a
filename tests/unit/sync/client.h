/*
 * client.h: one session, and a client that applies its lines as the SDKs' core does (sync-protocol 10): it keeps
 * positions and checksums, and fails the test when a line would make a real client drop a bucket or end the stream.
 */
#ifndef SYNC_CLIENT_H
#define SYNC_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h> /* before value.h, see there */

#include "base/alloc.h"
#include "base/buf.h"
#include "sync/session.h"

#define CLIENT_BUCKETS 64
#define NOW 1000000

struct client_bucket {
	char *name;
	uint32_t sum, expected;
	uint64_t position;
	int64_t count;
	int priority;
	uint64_t rows[26]; /* op id of the PUT that is there */
};

struct client {
	struct storage *storage;
	struct session_hub *hub;
	struct session *session;
	unsigned wakes;
	struct sync_request request;
	struct session_options options;

	void (*on_complete)(struct client *c); /* each full checkpoint_complete */
	struct client_bucket buckets[CLIENT_BUCKETS];
	size_t bucket_count;
	bool started;
	uint64_t last_op, complete_op, write_checkpoint;
	unsigned checkpoints, diffs, completes, partials, data_lines, keepalives;
	uint64_t operations;
	int64_t expires_in;
	struct buf text; /* lines since client_text */
	int64_t now, next;
	struct error err;
};

static inline void client_wake(void *ctx, void *owner)
{
	(void)ctx;
	((struct client *)owner)->wakes++;
}

static inline uint64_t json_id(json_t *object, const char *key)
{
	json_t *n = json_object_get(object, key);
	if (!n)
		return 0;
	assert_true(json_is_string(n));
	return strtoull(json_string_value(n), NULL, 10);
}

static inline struct client_bucket *client_find(struct client *c, const char *name)
{
	for (size_t i = 0; i < c->bucket_count; i++)
		if (strcmp(c->buckets[i].name, name) == 0)
			return &c->buckets[i];
	return NULL;
}

static inline struct client_bucket *client_bucket(struct client *c, const char *name)
{
	struct client_bucket *b = client_find(c, name);
	if (b)
		return b;
	assert_true(c->bucket_count < CLIENT_BUCKETS);
	b = &c->buckets[c->bucket_count++];
	*b = (struct client_bucket){.name = strdup(name)};
	return b;
}

static inline void client_drop(struct client *c, struct client_bucket *b)
{
	free(b->name);
	*b = c->buckets[--c->bucket_count];
}

static inline void client_take_list(struct client *c, json_t *list)
{
	size_t i;
	json_t *n;
	const char *before = "";
	json_array_foreach(list, i, n)
	{
		const char *name = json_string_value(json_object_get(n, "bucket"));
		assert_true(strcmp(before, name) < 0); /* bytewise order */
		before = name;
		struct client_bucket *b = client_bucket(c, name);
		b->expected = (uint32_t)json_integer_value(json_object_get(n, "checksum"));
		b->priority = (int)json_integer_value(json_object_get(n, "priority"));
		b->count = json_integer_value(json_object_get(n, "count"));
		assert_true(json_array_size(json_object_get(n, "subscriptions")) > 0);
	}
}

static inline void client_take_ids(struct client *c, json_t *line)
{
	uint64_t op = json_id(line, "last_op_id"), wc = json_id(line, "write_checkpoint");
	assert_true(op >= c->last_op);
	assert_true(wc >= c->write_checkpoint); /* repeated, never down */
	c->last_op = op;
	c->write_checkpoint = wc;
}

static inline void client_checkpoint(struct client *c, json_t *line)
{
	c->checkpoints++;
	c->started = true;
	client_take_ids(c, line);
	assert_non_null(json_object_get(line, "streams"));
	for (size_t i = 0; i < c->bucket_count;) {
		size_t k;
		json_t *n;
		bool listed = false;
		json_array_foreach(json_object_get(line, "buckets"), k, n) listed =
		        listed || strcmp(json_string_value(json_object_get(n, "bucket")), c->buckets[i].name) == 0;
		if (listed)
			i++;
		else
			client_drop(c, &c->buckets[i]);
	}
	client_take_list(c, json_object_get(line, "buckets"));
}

static inline void client_diff(struct client *c, json_t *line)
{
	c->diffs++;
	assert_true(c->started);
	client_take_ids(c, line);
	size_t i;
	json_t *n;
	json_array_foreach(json_object_get(line, "removed_buckets"), i, n)
	{
		struct client_bucket *b = client_find(c, json_string_value(n));
		assert_non_null(b);
		client_drop(c, b);
	}
	client_take_list(c, json_object_get(line, "updated_buckets"));
}

static inline void client_row(struct client_bucket *b, uint64_t op, const char *word, const char *id)
{
	if (strcmp(word, "CLEAR") == 0)
		memset(b->rows, 0, sizeof(b->rows));
	else if (id && id[0] >= 'a' && id[0] <= 'z')
		b->rows[id[0] - 'a'] = strcmp(word, "PUT") == 0 ? op : 0;
}

static inline void client_data(struct client *c, json_t *line)
{
	c->data_lines++;
	struct client_bucket *b = client_find(c, json_string_value(json_object_get(line, "bucket")));
	assert_non_null(b);
	assert_true(json_id(line, "after") == b->position);
	size_t i;
	json_t *n;
	assert_true(json_array_size(json_object_get(line, "data")) > 0);
	json_array_foreach(json_object_get(line, "data"), i, n)
	{
		uint64_t op = json_id(n, "op_id");
		assert_true(op > b->position);
		assert_true(op <= c->last_op);
		b->position = op;
		uint32_t sum = (uint32_t)json_integer_value(json_object_get(n, "checksum"));
		bool clear = strcmp(json_string_value(json_object_get(n, "op")), "CLEAR") == 0;
		b->sum = clear ? sum : b->sum + sum;
		client_row(b, op, json_string_value(json_object_get(n, "op")),
		           json_string_value(json_object_get(n, "object_id")));
		c->operations++;
	}
	assert_true(json_id(line, "next_after") == b->position);
}

static inline void client_complete(struct client *c, json_t *line, int priority)
{
	assert_true(c->started);
	assert_true(json_id(line, "last_op_id") == c->last_op);
	for (size_t i = 0; i < c->bucket_count; i++)
		if (c->buckets[i].priority <= priority && c->buckets[i].sum != c->buckets[i].expected)
			fail_msg("checksum of %s at %llu", c->buckets[i].name, (unsigned long long)c->last_op);
}

static inline void client_line(struct client *c, const char *text, size_t n)
{
	json_error_t e;
	json_t *line = json_loadb(text, n, 0, &e), *body;
	if (!line)
		fail_msg("%s in %.*s", e.text, (int)n, text);
	assert_int_equal(json_object_size(line), 1);
	if ((body = json_object_get(line, "checkpoint"))) {
		client_checkpoint(c, body);
	} else if ((body = json_object_get(line, "checkpoint_diff"))) {
		client_diff(c, body);
	} else if ((body = json_object_get(line, "data"))) {
		client_data(c, body);
	} else if ((body = json_object_get(line, "partial_checkpoint_complete"))) {
		c->partials++;
		client_complete(c, body, (int)json_integer_value(json_object_get(body, "priority")));
	} else if ((body = json_object_get(line, "checkpoint_complete"))) {
		c->completes++;
		client_complete(c, body, 99);
		c->complete_op = c->last_op;
		if (c->on_complete)
			c->on_complete(c);
	} else {
		body = json_object_get(line, "token_expires_in");
		assert_non_null(body);
		c->keepalives++;
		c->expires_in = json_integer_value(body);
	}
	json_decref(line);
}

/* One step; its lines are applied. */
static inline enum session_status client_step(struct client *c, size_t max_bytes, size_t max_lines)
{
	struct session_output out = {0};
	c->wakes = 0;
	enum session_status status = session_step(c->session, c->now, max_bytes, max_lines, &out, &c->next, &c->err);
	size_t start = c->text.n, lines = 0;
	for (size_t i = 0; i < out.count; i++) {
		struct block *b = out.blocks[i];
		buf_append(&c->text, b->bytes, b->n);
		lines += b->line_count;
		if (!c->options.split_lines)
			assert_true(b->line_count > 0 && b->bytes[b->n - 1] == '\n');
		block_unref(b);
	}
	assert_int_equal(lines, out.lines);
	assert_int_equal(c->text.n - start, out.bytes);
	assert_true(lines <= max_lines);
	for (size_t at = start; at < c->text.n; lines--) {
		const char *stop = memchr(c->text.p + at, '\n', c->text.n - at);
		assert_non_null(stop);
		client_line(c, c->text.p + at, (size_t)(stop - c->text.p) - at);
		at = (size_t)(stop - c->text.p) + 1;
	}
	assert_int_equal(lines, 0);
	free(out.blocks);
	return status;
}

/* Steps until there is nothing more to say. */
static inline enum session_status client_run(struct client *c)
{
	enum session_status status;
	do
		status = client_step(c, SIZE_MAX, SIZE_MAX);
	while (status == SESSION_MORE);
	return status;
}

static inline void client_expect(struct client *c, const char *expected)
{
	buf_putc(&c->text, '\0');
	assert_string_equal(c->text.p, expected);
	buf_clear(&c->text);
}

static inline void client_setup(struct client *c, struct storage *s)
{
	c->storage = s;
	c->now = NOW;
	c->hub = session_hub_new(s, client_wake, NULL);
	storage_subscribe(s, session_hub_news, c->hub);
	c->request = (struct sync_request){.raw_data = true, .include_defaults = true};
	c->options = (struct session_options){
	        .user = {SLICE("u1"), SLICE("c1")},
	        .token_payload = SLICE("{}"),
	        .expires_at_ms = NOW + 3600000,
	        .keepalive_lines = true,
	        .limits = {1000, 1000},
	};
}

static inline void client_open(struct client *c)
{
	c->session = session_new(c->hub, &c->request, &c->options, c, &c->err);
	assert_non_null(c->session);
	for (size_t i = 0; i < c->request.bucket_count; i++) {
		char *name = xstrdup(c->request.buckets[i].name);
		client_bucket(c, name)->position = c->request.buckets[i].after;
		free(name);
	}
}

static inline void client_close(struct client *c)
{
	session_free(c->session);
	c->session = NULL;
	while (c->bucket_count)
		client_drop(c, &c->buckets[0]);
	buf_free(&c->text);
}

static inline void client_teardown(struct client *c)
{
	client_close(c);
	session_hub_free(c->hub);
}

#endif
