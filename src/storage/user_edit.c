/* user_edit.c: see user_edit.h. Heads grow along the queue, so a user has at most one index entry for a head. */
#include "storage/user_edit.h"

bool user_edit_load(struct storage *s, struct requests_txn *t, struct slice key, struct user_edit *e, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	struct slice record;
	e->key = key;
	e->before = (struct user_record){.count = 0};
	int got = ops->user_get(t, key, &record, err);
	if (got < 0 || (got && !user_decode(&e->before, record, err)) || (!got && !ops->floor_get(t, key, &e->before.floor, err)))
		return false;
	e->found = got;
	e->after = e->before;
	return true;
}

static const struct association *find_head(const struct user_record *u, struct position head)
{
	for (size_t i = 0; i < u->count; i++)
		if (position_cmp(u->entries[i].head, head) == 0)
			return &u->entries[i];
	return NULL;
}

bool user_edit_store(struct storage *s, struct requests_txn *t, const struct user_edit *e, struct buf *scratch, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	const struct user_record *a = &e->before, *b = &e->after;
	for (size_t i = 0; i < a->count; i++)
		if (!find_head(b, a->entries[i].head) && !ops->head_delete(t, a->entries[i].head, e->key, err))
			return false;
	for (size_t i = 0; i < b->count; i++)
		if (!find_head(a, b->entries[i].head) && !ops->head_put(t, b->entries[i].head, e->key, b->entries[i].since, err))
			return false;
	if (b->unknown && !a->unknown ? !ops->unknown_put(t, e->key, b->unknown_since, err)
	                              : a->unknown && !b->unknown && !ops->unknown_delete(t, e->key, err))
		return false;
	if (!e->found && a->floor && !ops->floor_put(t, e->key, 0, err))
		return false;
	buf_clear(scratch);
	user_encode(scratch, b);
	return ops->user_put(t, e->key, buf_slice(scratch), err);
}
