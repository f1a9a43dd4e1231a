/*
 * reprocess.c: the operator's "read it all again" (incremental-deploy 10): every table is compared with the source, so that only
 * differences make operations.
 *
 * It is the repair of generation.c without a gap: the stream was there all along, so checkpoints go on, and what is stored of a row may
 * still fill in what an update leaves out. That it is none is not stored: after a restart the rest is a repair like any other.
 */
#include <unistd.h>

#include "replicate/engine.h"

bool replicator_reprocess(struct replicator *r)
{
	uint64_t one = 1;
	pthread_mutex_lock(&r->status_lock);
	bool ok = r->reprocess == REPROCESS_NONE && !r->next_plan && !r->deploying;
	if (ok) {
		r->reprocess = REPROCESS_WANTED;
		atomic_store(&r->deploy_wanted, true);
		ssize_t ignored = write(r->wake_fd, &one, sizeof(one));
		(void)ignored;
	}
	pthread_mutex_unlock(&r->status_lock);
	return ok;
}

static void set_state(struct replicator *r, enum reprocess_state state)
{
	pthread_mutex_lock(&r->status_lock);
	r->reprocess = state;
	pthread_mutex_unlock(&r->status_lock);
}

/* Tables that wait for a repair stay what they are. */
static bool begin(struct storage *s, struct arena *arena, struct error *err)
{
	struct table_name *tables;
	size_t count;
	if (storage_is_shared(s))
		return storage_redeploy(s, err);
	if (!storage_new_generation(s, err) || !storage_tables(s, arena, &tables, &count, err))
		return false;
	for (size_t i = 0; i < count; i++)
		if (!tables[i].lost && !storage_table_lost(s, tables[i].number, err))
			return false;
	return storage_flush(s, err);
}

void reprocess_take(struct replicator *r)
{
	struct arena arena = {0};
	struct error err = {.code = ""};
	if (r->reprocess != REPROCESS_WANTED)
		return;
	if (begin(r->options.storage, &arena, &err)) {
		bool beside = storage_is_shared(r->options.storage); /* another stream, which says itself how far it is */
		r->reprocess_generation = beside ? 0 : storage_epoch(r->options.storage);
		set_state(r, beside ? REPROCESS_NONE : REPROCESS_RUNNING);
		log_info(r->options.log, "Every table is read again and compared");
	} else {
		storage_rollback(r->options.storage);
		set_state(r, REPROCESS_NONE);
		log_error(r->options.log, "Tables cannot be read again: %s", err.message);
	}
	arena_free(&arena);
}

/* A table without identity is emptied before it is read, which nobody may see. */
void reprocess_table(const struct attempt *a, struct table_state *t)
{
	t->no_gap = t->lost && !t->keyless && a->r->reprocess_generation && t->generation == a->r->reprocess_generation;
}

void reprocess_check(struct attempt *a)
{
	struct replicator *r = a->r;
	if (!r->reprocess_generation)
		return;
	for (const struct table_state *t = a->tables; t; t = t->next)
		if (t->no_gap)
			return;
	r->reprocess_generation = 0;
	set_state(r, REPROCESS_NONE);
	log_info(a->log, "Every table has been compared with the source");
}
