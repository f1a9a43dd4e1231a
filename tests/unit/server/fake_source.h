/* fake_source.h: a source that has a head, counts markers, and can be down. Definitions; included once. */
#ifndef FAKE_SOURCE_H
#define FAKE_SOURCE_H

#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "source/inspect.h"
#include "source/source.h"

struct source_connection {
	_Atomic bool aborted;
};

static struct {
	_Atomic bool down;  /* cannot connect, and calls fail */
	_Atomic bool hangs; /* head reads do not come back until they are cut */
	_Atomic bool marker_fails;
	_Atomic uint64_t head;
	_Atomic size_t connects, heads, markers, aborts;
	char system_id[64];
	int delay_us;
} fake_source;

static inline void fake_source_reset(void)
{
	fake_source.down = fake_source.hangs = fake_source.marker_fails = false;
	fake_source.head = 5000;
	fake_source.connects = fake_source.heads = fake_source.markers = fake_source.aborts = 0;
	fake_source.delay_us = 0;
	snprintf(fake_source.system_id, sizeof(fake_source.system_id), "sys.app");
}

struct source_connection *source_connect(struct source *s, struct error *err)
{
	(void)s;
	if (fake_source.down) {
		error_set(err, "", "connection refused");
		return NULL;
	}
	atomic_fetch_add(&fake_source.connects, 1);
	return xcalloc(1, sizeof(struct source_connection));
}

void source_disconnect(struct source_connection *c)
{
	free(c);
}

void source_connection_abort(struct source_connection *c)
{
	atomic_fetch_add(&fake_source.aborts, 1);
	atomic_store(&c->aborted, true);
}

enum source_failure source_classify(const struct error *err)
{
	(void)err;
	return SOURCE_RETRY;
}

static bool fake_call(struct source_connection *c, struct error *err)
{
	if (fake_source.delay_us)
		nanosleep(&(struct timespec){0, fake_source.delay_us * 1000L}, NULL);
	while (fake_source.hangs && !atomic_load(&c->aborted))
		nanosleep(&(struct timespec){0, 2000000}, NULL);
	return !(fake_source.down || atomic_load(&c->aborted)) || error_set(err, "", "connection lost");
}

bool source_identify(struct source_connection *c, struct source_identity *out, struct error *err)
{
	if (!fake_call(c, err))
		return false;
	*out = (struct source_identity){.insert_lsn = fake_source.head, .server_version = 150000};
	snprintf(out->system_id, sizeof(out->system_id), "%s", fake_source.system_id);
	return true;
}

bool source_head(struct source_connection *c, uint64_t *lsn, struct xid_snapshot *snapshot, struct arena *arena,
                 struct error *err)
{
	(void)snapshot, (void)arena;
	if (!fake_call(c, err))
		return false;
	atomic_fetch_add(&fake_source.heads, 1);
	*lsn = fake_source.head;
	return true;
}

bool source_marker(struct source_connection *c, struct error *err)
{
	if (!fake_call(c, err))
		return false;
	if (fake_source.marker_fails)
		return error_set(err, "", "connection lost");
	atomic_fetch_add(&fake_source.markers, 1);
	return true;
}

/* ---- inspection: a source without tables ---- */

void source_interrupt(struct source *s)
{
	(void)s;
}

bool source_check(struct source_connection *c, struct error *err)
{
	return fake_call(c, err);
}

bool source_facts(struct source_connection *c, struct arena *arena, struct source_facts *out, struct error *err)
{
	(void)arena;
	*out = (struct source_facts){.user = SLICE("someone"), .wal_level = SLICE("logical"), .max_slot_wal_keep_bytes = -1};
	return fake_call(c, err);
}

bool source_inspect(struct source_connection *c, const struct source_pattern *pattern, struct arena *arena,
                    struct inspected_table **tables, size_t *count, struct error *err)
{
	(void)pattern;
	(void)arena;
	*tables = NULL;
	*count = 0;
	return fake_call(c, err);
}

bool source_slot_facts(struct source_connection *c, const char *slot, struct arena *arena, struct source_slot *out,
                       struct error *err)
{
	(void)slot;
	(void)arena;
	*out = (struct source_slot){0};
	return fake_call(c, err);
}

bool source_schema(struct source_connection *c, struct arena *arena, struct schema_table **tables, size_t *count,
                   struct error *err)
{
	(void)arena;
	*tables = NULL;
	*count = 0;
	return fake_call(c, err);
}

#endif
