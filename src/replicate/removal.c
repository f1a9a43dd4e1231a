/* removal.c: streams of a shared store that were replaced: their slot goes, then what is stored of them, in steps while the stream is idle. */
#include "base/clock.h"
#include "replicate/engine.h"

#define LOOK_MS 5000
#define STEP_MS 100

bool removal_step(struct attempt *a, struct error *err)
{
	int64_t now = clock_mono_ms();
	char slot[64];
	bool done;
	if (!storage_is_shared(a->storage) || now < a->removal_due_ms || a->dirty)
		return true;
	a->removal_due_ms = now + LOOK_MS;
	if (!a->removing) {
		if (!storage_stopped_stream(a->storage, &a->removing, slot, err))
			return false;
		if (!a->removing)
			return true;
		log_info(a->log, "Terminating replication stream %d: %s is dropped, its data is removed", a->removing, slot);
		if (!source_slot_drop(a->connection, slot, err))
			return false;
	}
	if (!storage_remove_step(a->storage, a->removing, &done, err))
		return false;
	if (done)
		log_info(a->log, "Terminated replication stream %d", a->removing);
	if (done)
		a->removing = 0;
	a->removal_due_ms = now + STEP_MS;
	return true;
}
