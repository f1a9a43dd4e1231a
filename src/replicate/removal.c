/* removal.c: streams of a shared store that were replaced: their slots go here, what is stored of them by maintenance (storage/compact.h). */
#include "base/clock.h"
#include "replicate/engine.h"

#define LOOK_MS 5000

bool removal_step(struct attempt *a, struct error *err)
{
	int64_t now = clock_mono_ms();
	char slot[64];
	int32_t id;
	bool in_use = false;
	if (!storage_is_shared(a->storage) || now < a->removal_due_ms)
		return true;
	a->removal_due_ms = now + LOOK_MS;
	if (!storage_stopped_stream(a->storage, &id, slot, err))
		return false;
	if (!id)
		return true;
	struct error failed = {.code = ""};
	if (source_slot_try_drop(a->connection, slot, &in_use, &failed)) {
		log_info(a->log, "Terminating replication stream %d: %s is dropped, its data is removed", id, slot);
		storage_remove_stream(a->storage, id);
		return true;
	}
	/* Somebody reads it still, perhaps a process that was replaced: the next round looks again. */
	if (in_use)
		log_debug(a->log, "The replication slot %s of the replaced stream %d is in use", slot, id);
	else if (err)
		*err = failed;
	return in_use;
}
