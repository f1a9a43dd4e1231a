/*
 * retirement.c: plans that were replaced a while ago (incremental-deploy 8). Their definitions are RETIRED: hidden, but maintained, so that
 * going back to one of these plans fills nothing.
 *
 * Which plans these are, and since when, stands in META_STATE; their records stay in SMALL_PLANS. A RETIRED definition is stored as
 * DROPPING and becomes RETIRED again while loading, by the list: a program that does not know the list does not keep it, and leaves what it
 * did not maintain to be dropped.
 */
#include "storage/internal.h"

bool plan_needs(const struct plan_record *r, uint32_t number)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->numbers[i] == number)
			return true;
	return false;
}

static bool any_needs(const struct plan_record *const *plans, size_t count, uint32_t number)
{
	for (size_t i = 0; i < count; i++)
		if (plan_needs(plans[i], number))
			return true;
	return false;
}

bool definitions_settle(struct storage *s, const struct plan_record *active, const struct plan_record *pending,
                        const struct plan_record *const *retired, size_t retired_count, struct error *err)
{
	for (size_t i = 0; i < s->definition_count; i++) {
		struct definition_record *r = &s->definitions[i];
		enum definition_state state = r->state;
		if (state == DEFINITION_DROPPING)
			continue;
		if (plan_needs(active, r->number) || plan_needs(pending, r->number))
			state = state == DEFINITION_RETIRED ? DEFINITION_READY : state;
		else if (state != DEFINITION_FILLING && any_needs(retired, retired_count, r->number))
			state = DEFINITION_RETIRED;
		else
			state = DEFINITION_DROPPING;
		if (state != r->state && !definition_set_state(s, r, state, err))
			return false;
	}
	return true;
}

size_t retired_records(const struct storage *s, const struct plan_record **out)
{
	for (size_t i = 0; i < s->retired_plan_count; i++)
		out[i] = &s->retired_plans[i].record;
	return s->retired_plan_count;
}

bool retirement_load_plan(struct storage *s, uint32_t number, struct plan_record **out)
{
	for (size_t i = 0; i < s->state.retired_count; i++)
		if ((uint32_t)s->state.retired[i].plan == number) {
			s->retired_plans[i].record.id = s->state.retired[i].plan;
			*out = &s->retired_plans[i].record;
			return true;
		}
	return false;
}

bool retirement_loaded(struct storage *s, struct error *err)
{
	s->retired_plan_count = s->state.retired_count;
	for (size_t i = 0; i < s->retired_plan_count; i++) {
		const struct plan_record *p = &s->retired_plans[i].record;
		if (!p->id)
			return error_set(err, "PSYNC_S2404", "the store is damaged: a replaced plan is missing");
		for (size_t k = 0; k < s->definition_count; k++) {
			struct definition_record *r = &s->definitions[k];
			if (r->state == DEFINITION_DROPPING && plan_needs(p, r->number))
				r->state = r->committed_state = DEFINITION_RETIRED;
		}
	}
	return true;
}

/* The plans of the committed list, out of those that were there and the one that was active. */
static void follow(struct storage *s, const struct retired_plan *also)
{
	struct retired_plan old[MAX_RETIRED_PLANS + 1], next[MAX_RETIRED_PLANS] = {0};
	size_t count = 0, found = 0;
	for (size_t i = 0; i < s->retired_plan_count; i++)
		old[count++] = s->retired_plans[i];
	if (also)
		old[count++] = *also;
	for (size_t i = 0; i < s->state.retired_count; i++)
		for (size_t k = 0; k < count; k++)
			if (old[k].record.id == s->state.retired[i].plan) {
				next[found++] = old[k];
				old[k] = (struct retired_plan){0};
			}
	for (size_t k = 0; k < count; k++)
		plan_unref(old[k].plan);
	memcpy(s->retired_plans, next, sizeof(next));
	s->retired_plan_count = found;
}

static bool forget_plan(struct storage *s, uint64_t id, struct error *err)
{
	return s->backend->ops->small_delete(s->backend, SMALL_PLANS, (uint32_t)id, err);
}

/* Has it definitions that the other has not? */
static bool has_own(const struct plan_record *p, const struct plan_record *other)
{
	for (size_t i = 0; i < p->count; i++)
		if (!plan_needs(other, p->numbers[i]))
			return true;
	return false;
}

bool retirement_activate(struct storage *s, struct store_state *next, struct error *err)
{
	const struct plan_record *active = &s->active_record, *pending = &s->pending_record, none = {0};
	const struct plan_record *kept[MAX_RETIRED_PLANS];
	struct retirement list[MAX_RETIRED_PLANS] = {0};
	uint32_t count = 0;
	if (active->id && s->active_plan && !s->active_stale && s->retirement_ms > 0 && has_own(active, pending)) {
		list[0] = (struct retirement){active->id, s->wall_ms()};
		kept[count++] = active;
	} else if (active->id && !forget_plan(s, active->id, err)) {
		return false;
	}
	for (size_t i = 0; i < s->retired_plan_count; i++) {
		const struct plan_record *r = &s->retired_plans[i].record;
		bool again = slice_eq(r->text, pending->text) || slice_eq(r->text, active->text);
		if (again || count == MAX_RETIRED_PLANS) {
			if (!forget_plan(s, r->id, err))
				return false;
			continue;
		}
		list[count] = next->retired[i];
		kept[count++] = r;
	}
	memcpy(next->retired, list, sizeof(list));
	next->retired_count = count;
	return definitions_settle(s, pending, &none, kept, count, err);
}

void retirement_activated(struct storage *s)
{
	follow(s, &(struct retired_plan){s->active_record, s->active_plan});
}

/* Gives up those for which keep is false, in a transaction of its own. */
static bool give_up(struct storage *s, const bool *keep, struct error *err)
{
	const struct plan_record *kept[MAX_RETIRED_PLANS];
	uint32_t count = 0;
	if (!writer_begin(s, err))
		return false;
	bool ok = true;
	for (size_t i = 0; i < s->retired_plan_count && ok; i++) {
		if (keep[i]) {
			s->state.retired[count] = s->state.retired[i];
			kept[count++] = &s->retired_plans[i].record;
		} else {
			ok = forget_plan(s, s->retired_plans[i].record.id, err);
		}
	}
	s->state.retired_count = count;
	ok = ok && definitions_settle(s, &s->active_record, &s->pending_record, kept, count, err);
	if (!ok || !storage_flush(s, err)) {
		storage_rollback(s);
		return false;
	}
	follow(s, NULL);
	plans_show(s);
	return true;
}

static bool is_over(const struct storage *s, size_t i, int64_t now_ms)
{
	return now_ms - s->state.retired[i].since_ms >= s->retirement_ms;
}

bool storage_plans_expire(struct storage *s)
{
	int64_t now = s->wall_ms();
	for (size_t i = 0; i < s->retired_plan_count; i++)
		if (is_over(s, i, now))
			return true;
	return false;
}

bool storage_expire_plans(struct storage *s, bool *expired, struct error *err)
{
	bool keep[MAX_RETIRED_PLANS] = {0};
	int64_t now = s->wall_ms();
	*expired = storage_plans_expire(s);
	for (size_t i = 0; i < s->retired_plan_count; i++)
		keep[i] = !is_over(s, i, now);
	/* What was written before is not part of it. */
	return !*expired || (storage_flush(s, err) && give_up(s, keep, err));
}

bool retirement_prune(struct storage *s, struct error *err)
{
	bool keep[MAX_RETIRED_PLANS] = {0}, all = true;
	for (size_t i = 0; i < s->retired_plan_count; i++)
		all &= keep[i] = s->retired_plans[i].plan != NULL;
	return all || give_up(s, keep, err);
}

struct slice storage_retired_plan_text(struct storage *s, size_t index)
{
	return index < s->retired_plan_count ? s->retired_plans[index].record.text : (struct slice){NULL, 0};
}

void storage_attach_retired(struct storage *s, size_t index, struct plan *plan)
{
	struct retired_plan *r = &s->retired_plans[index];
	if (!record_fits(s, &r->record, plan))
		return;
	plan_unref(r->plan);
	r->plan = plan_ref(plan);
	plans_show(s);
}

size_t storage_retired_plans(struct storage *s, struct stored_plan *out[MAX_RETIRED_PLANS])
{
	size_t count = 0;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < MAX_RETIRED_PLANS; i++)
		if (s->retired[i])
			out[count++] = stored_plan_ref(s->retired[i]);
	pthread_mutex_unlock(&s->lock);
	return count;
}
