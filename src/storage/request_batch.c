/* request_batch.c: see request_batch.h. */
#include "storage/request_batch.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "storage/internal.h"

/* A repeated id moves the stamp only in steps of this part of the retention, or of a minute: not every duplicate is worth a flush. */
#define STAMP_PART 16
#define LONGEST_STAMP_STEP_MS 60000

/* ---- what a write means ---------------------------------------------------------------------------------------------------------- */

static bool same_association(const struct association *a, const struct association *b)
{
	return a->id == b->id && position_cmp(a->head, b->head) == 0 && a->generated == b->generated;
}

bool request_changes_nothing(const struct user_record *a, const struct user_record *b, int64_t retention_ms)
{
	if (a->count != b->count || a->unknown != b->unknown || a->unknown_generated != b->unknown_generated ||
	    a->floor != b->floor || a->stamped != b->stamped)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!same_association(&a->entries[i], &b->entries[i]))
			return false;
	int64_t step = retention_ms / STAMP_PART < LONGEST_STAMP_STEP_MS ? retention_ms / STAMP_PART : LONGEST_STAMP_STEP_MS;
	return !b->stamped || (b->stamp_ms >= a->stamp_ms && b->stamp_ms - a->stamp_ms < step);
}

struct request_outcome request_outcome_of(const struct user_record *before, const struct user_record *u)
{
	struct request_outcome o = {.unknown = u->unknown, .any = u->count};
	if (u->count)
		o.newest = u->entries[u->count - 1].head;
	for (size_t i = u->count; i > 0; i--) {
		bool known = false;
		for (size_t j = 0; j < before->count; j++)
			known |= same_association(&before->entries[j], &u->entries[i - 1]);
		if (known)
			continue;
		o.has_new = true;
		o.first_new = u->entries[i - 1].head;
	}
	return o;
}

/* On an idle source a head can lie exactly at the served position: such an association was acknowledged when it was stored, without any
 * event in the source. A client that asks for it again has not seen that, so this once it gets an event after all; from then on the
 * served position lies beyond, and further duplicates cost the source nothing. */
bool request_is_pending(const struct request_outcome *o, const struct served *p)
{
	if (o->unknown || !o->any || !p->valid)
		return o->unknown || o->any;
	int order = position_cmp(o->newest, p->position);
	return order > 0 || (order == 0 && !o->has_new);
}

bool request_is_passed(const struct request_outcome *o, const struct served *p)
{
	return o->has_new && p->valid && position_cmp(o->first_new, p->position) <= 0;
}

/* ---- a batch ---------------------------------------------------------------------------------------------------------------------- */

bool request_batch_check(struct storage *s, const struct checkpoint_request *requests, size_t count, struct error *err)
{
	if (storage_custom_mode(s))
		return error_set(err, "PSYNC_S2001", "%s", CUSTOM_MODE_REFUSAL);
	for (size_t i = 0; i < count; i++)
		if (requests[i].id > REQUEST_ID_MAX)
			return error_set(err, "PSYNC_S2001", "a checkpoint request id is at most %lld",
			                 (long long)REQUEST_ID_MAX);
	return true;
}

void request_batch_group(struct request_batch *b, const struct checkpoint_request *requests, size_t count)
{
	struct buf key = {0};
	b->users = arena_array(&b->arena, struct batch_user, count);
	b->user_of = arena_array(&b->arena, uint32_t, count);
	for (b->slot_count = 16; b->slot_count < count * 2;)
		b->slot_count *= 2;
	b->slots = arena_calloc(&b->arena, b->slot_count * sizeof(*b->slots));
	for (size_t i = 0; i < count; i++) {
		buf_clear(&key);
		user_key_encode(&key, &requests[i].user);
		size_t at = lookup_hash(0, buf_slice(&key)) & (b->slot_count - 1);
		while (b->slots[at] && !slice_eq(b->users[b->slots[at] - 1].key, buf_slice(&key)))
			at = (at + 1) & (b->slot_count - 1);
		if (!b->slots[at]) {
			b->users[b->count] = (struct batch_user){.key = arena_copy(&b->arena, buf_slice(&key))};
			b->slots[at] = (uint32_t)++b->count;
		}
		struct batch_user *u = &b->users[b->slots[at] - 1];
		b->user_of[i] = b->slots[at] - 1;
		if (!requests[i].id)
			u->generated = true;
		else if (requests[i].id > u->supplied)
			u->supplied = requests[i].id;
	}
	buf_free(&key);
}

/* An id below one that was given before a removal cannot stand for a generated one. */
void request_batch_apply(struct batch_user *u, struct user_record *r, const struct position *head, const struct served *p,
                         int64_t now_ms)
{
	bool fresh = u->supplied > user_greatest(r) && u->supplied > r->floor;
	if (u->supplied)
		u->answer = user_store(r, u->supplied, head, p, now_ms);
	if (u->generated && !fresh)
		u->answer = user_store(r, 0, head, p, now_ms);
}

void request_batch_answer(const struct request_batch *b, struct checkpoint_request *requests, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct batch_user *u = &b->users[b->user_of[i]];
		requests[i].stored_id = u->answer;
		requests[i].pending = u->pending;
		requests[i].fresh = u->outcome.has_new;
	}
}

/* ---- unknown heads ---------------------------------------------------------------------------------------------------------------- */

void waiting_heads_add(struct waiting_heads *w, struct slice key, uint64_t id)
{
	w->items = xgrow(w->items, w->count, &w->cap, sizeof(*w->items));
	w->items[w->count++] = (struct waiting_user){.key = arena_copy(&w->arena, key), .id = id};
}

void waiting_heads_free(struct waiting_heads *w)
{
	if (!w)
		return;
	free(w->items);
	arena_free(&w->arena);
	free(w);
}

/* ---- news for users who are acknowledged at once ------------------------------------------------------------------------------------ */

void user_list_free(struct user_list *l)
{
	free(l->items);
	arena_free(&l->arena);
}

void user_list_add(struct user_list *l, struct slice key)
{
	struct user_key user;
	if (!user_key_decode(arena_copy(&l->arena, key), &user))
		return;
	l->items = xgrow(l->items, l->count, &l->cap, sizeof(*l->items));
	l->items[l->count++] = user;
}

void user_list_tell(struct storage *s, const struct user_list *l)
{
	if (!l->count)
		return;
	struct storage_news news = {
	        .checkpoint = storage_checkpoint(s), .users = l->items, .user_count = l->count, .only_users = true};
	storage_tell(s, &news);
}
