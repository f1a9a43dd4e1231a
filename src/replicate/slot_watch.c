/* slot_watch.c: what the slot costs the source: the WAL that it keeps (for the metrics). */
#include "replicate/engine.h"
#include "source/inspect.h"

bool slot_look(void *replicator, struct source_connection *c)
{
	struct replicator *r = replicator;
	struct arena arena = {0};
	struct source_slot slot = {.found = false};
	struct error ignored;
	bool ok = source_slot_facts(c, r->slot_name, &arena, &slot, &ignored);
	pthread_mutex_lock(&r->status_lock);
	r->status.slot_known = ok && slot.found && slot.kept_from_lsn;
	r->status.slot_bytes = slot.current_lsn > slot.kept_from_lsn ? slot.current_lsn - slot.kept_from_lsn : 0;
	r->status.slot_limited = slot.has_safe_size;
	r->status.slot_left = slot.safe_size;
	pthread_mutex_unlock(&r->status_lock);
	arena_free(&arena);
	return ok;
}
