/*
 * definitions.c: plans, their definitions and the states of both (incremental-deploy 1 to 4, 8).
 *
 * What only a replaced plan used is RETIRED for a while (retirement.c), then DROPPING: nothing evaluates it any more. Its data is not
 * read, and is removed by drop.c; what is left of it in row records goes when the row is next written.
 *
 * Records. SMALL_DEFINITIONS, by number: kind u8, state u8, epoch varint, hash 32 bytes, name, content (varint length, bytes each).
 * SMALL_PLANS, by the low 32 bits of the plan's id: count varint, numbers varint each, text (the rest). Which plan is active or
 * pending stands in META_STATE; replaced plans are deleted.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/internal.h"

/* ---- stored_plan objects ---- */

struct plan_object {
	struct stored_plan shown;
	_Atomic int refs;
	struct stored_definition definitions[];
};

static struct plan_object *object_of(struct stored_plan *p)
{
	return (struct plan_object *)p; /* shown is the first member */
}

struct stored_plan *stored_plan_ref(struct stored_plan *p)
{
	if (p)
		atomic_fetch_add(&object_of(p)->refs, 1);
	return p;
}

void stored_plan_unref(struct stored_plan *p)
{
	if (p && atomic_fetch_sub(&object_of(p)->refs, 1) == 1) {
		plan_unref(p->plan);
		free(object_of(p));
	}
}

static struct definition_record *find_number(const struct storage *s, uint32_t number)
{
	/* Numbers are given in order and records are never forgotten, so the record is nearly always at number - 1. */
	if (number && number <= s->definition_count && s->definitions[number - 1].number == number)
		return &s->definitions[number - 1];
	for (size_t i = 0; i < s->definition_count; i++)
		if (s->definitions[i].number == number)
			return &s->definitions[i];
	return NULL;
}

struct stored_plan *stored_plan_new(uint64_t id, struct plan *plan, const struct stored_definition *definitions, size_t count,
                                    uint64_t events)
{
	size_t size = 0;
	for (size_t i = 0; i < count; i++)
		size += definitions[i].head.n;
	struct plan_object *o = xcalloc(1, sizeof(*o) + count * sizeof(o->definitions[0]) + size);
	char *heads = (char *)(o->definitions + count);
	atomic_init(&o->refs, 1);
	o->shown = (struct stored_plan){
	        .id = id, .plan = plan_ref(plan), .count = count, .definitions = o->definitions, .events = events};
	for (size_t i = 0; i < count; i++) {
		struct slice head = definitions[i].head;
		o->definitions[i] = definitions[i];
		o->definitions[i].head = slice_make(heads, head.n);
		if (head.n)
			memcpy(heads, head.p, head.n);
		heads += head.n;
	}
	return &o->shown;
}

static struct stored_plan *make_object(struct storage *s, const struct plan_record *r, struct plan *plan)
{
	bool is_pending = r == &s->pending_record, is_retired = !is_pending && r != &s->active_record;
	struct arena arena = {0};
	struct stored_definition *definitions = arena_array(&arena, struct stored_definition, r->count + 1);
	for (size_t i = 0; i < r->count; i++) {
		const struct definition_record *d = find_number(s, r->numbers[i]);
		struct slice name = d ? d->name : (struct slice){"", 0};
		definitions[i] = (struct stored_definition){
		        .number = r->numbers[i],
		        .state = d ? d->state : DEFINITION_NONE,
		        .epoch = d ? d->epoch : 0,
		        .name = name,
		        .head = arena_printf(&arena, "%u#%.*s", r->numbers[i], SLICE_ARG(name)),
		};
	}
	uint64_t events = is_retired ? 0 : custom_tag(s, is_pending);
	struct stored_plan *p = stored_plan_new(r->id, plan, definitions, r->count, events);
	arena_free(&arena);
	return p;
}

void plans_show(struct storage *s)
{
	struct stored_plan *retired[MAX_RETIRED_PLANS] = {0}, *old_retired[MAX_RETIRED_PLANS];
	struct stored_plan *active = s->active_plan ? make_object(s, &s->active_record, s->active_plan) : NULL;
	struct stored_plan *pending = s->pending_plan ? make_object(s, &s->pending_record, s->pending_plan) : NULL;
	for (size_t i = 0; i < s->retired_plan_count; i++)
		if (s->retired_plans[i].plan)
			retired[i] = make_object(s, &s->retired_plans[i].record, s->retired_plans[i].plan);
	pthread_mutex_lock(&s->lock);
	struct stored_plan *old_active = s->active, *old_pending = s->pending;
	s->active = active;
	s->pending = pending;
	memcpy(old_retired, s->retired, sizeof(retired));
	memcpy(s->retired, retired, sizeof(retired));
	pthread_mutex_unlock(&s->lock);
	stored_plan_unref(old_active);
	stored_plan_unref(old_pending);
	for (size_t i = 0; i < MAX_RETIRED_PLANS; i++)
		stored_plan_unref(old_retired[i]);
}

void definitions_free(struct storage *s)
{
	stored_plan_unref(s->active);
	stored_plan_unref(s->pending);
	plan_unref(s->active_plan);
	plan_unref(s->pending_plan);
	for (size_t i = 0; i < MAX_RETIRED_PLANS; i++) {
		stored_plan_unref(s->retired[i]);
		plan_unref(s->retired_plans[i].plan);
	}
	free(s->definitions);
}

struct stored_plan *storage_active_plan(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct stored_plan *p = stored_plan_ref(s->active);
	pthread_mutex_unlock(&s->lock);
	return p;
}

struct stored_plan *storage_pending_plan(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct stored_plan *p = stored_plan_ref(s->pending);
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* What is loaded of a shared store lives until it is closed. */
static struct slice shown_text(struct storage *s, struct stored_plan *const *shown)
{
	pthread_mutex_lock(&s->lock);
	struct slice text = *shown ? plan_text((*shown)->plan) : (struct slice){NULL, 0};
	pthread_mutex_unlock(&s->lock);
	return text;
}

struct slice storage_active_plan_text(struct storage *s)
{
	if (s->shared)
		return shown_text(s, &s->active);
	return s->active_record.id ? s->active_record.text : (struct slice){NULL, 0};
}

struct slice storage_pending_plan_text(struct storage *s)
{
	if (s->shared)
		return shown_text(s, &s->pending);
	return s->pending_record.id ? s->pending_record.text : (struct slice){NULL, 0};
}

/* ---- records ---- */

static bool load_definition(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	struct decoder d = decoder_of(value);
	s->definitions = xgrow(s->definitions, s->definition_count, &s->definition_cap, sizeof(*s->definitions));
	struct definition_record *r = &s->definitions[s->definition_count++];
	*r = (struct definition_record){.number = number};
	r->kind = (enum definition_kind)decode_u8(&d);
	r->state = r->committed_state = (enum definition_state)decode_u8(&d);
	r->epoch = decode_varint(&d);
	struct slice hash = decode_bytes(&d, sizeof(r->hash));
	if (hash.n)
		memcpy(r->hash, hash.p, sizeof(r->hash));
	r->name = arena_copy(&s->arena, decode_text(&d));
	r->content = arena_copy(&s->arena, decode_text(&d));
	s->any_dropping |= r->state == DEFINITION_DROPPING;
	return !d.bad || error_set(err, "PSYNC_S2404", "the store is damaged: definition %u cannot be read", number);
}

static bool load_plan(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	struct plan_record *r = number == (uint32_t)s->state.active_plan    ? &s->active_record
	                        : number == (uint32_t)s->state.pending_plan ? &s->pending_record
	                                                                    : NULL;
	bool retired = !r && retirement_load_plan(s, number, &r);
	if (!r)
		return true;
	struct decoder d = decoder_of(value);
	uint64_t count = decode_varint(&d);
	if (count > value.n)
		d.bad = true;
	r->count = d.bad ? 0 : count;
	r->numbers = arena_array(&s->arena, uint32_t, r->count);
	for (size_t i = 0; i < r->count; i++)
		r->numbers[i] = (uint32_t)decode_varint(&d);
	r->text = arena_copy(&s->arena, decode_rest(&d));
	if (!retired)
		r->id = r == &s->active_record ? s->state.active_plan : s->state.pending_plan;
	return !d.bad || error_set(err, "PSYNC_S2404", "the store is damaged: plan %u cannot be read", number);
}

bool definitions_load(struct storage *s, struct error *err)
{
	const struct backend_ops *ops = s->backend->ops;
	if (!ops->small_each(s->backend, SMALL_DEFINITIONS, load_definition, s, err) ||
	    !ops->small_each(s->backend, SMALL_PLANS, load_plan, s, err))
		return false;
	if (s->active_record.id != s->state.active_plan || s->pending_record.id != s->state.pending_plan)
		return error_set(err, "PSYNC_S2404", "the store is damaged: a plan is missing");
	return retirement_loaded(s, err) && custom_load(s, err);
}

static bool store_definition(struct storage *s, const struct definition_record *r, struct error *err)
{
	struct buf b = {0};
	buf_putc(&b, (char)r->kind);
	buf_putc(&b, (char)(r->state == DEFINITION_RETIRED ? DEFINITION_DROPPING : r->state));
	buf_varint(&b, r->epoch);
	buf_append(&b, r->hash, sizeof(r->hash));
	buf_text(&b, r->name);
	buf_text(&b, r->content);
	bool ok = s->backend->ops->small_put(s->backend, SMALL_DEFINITIONS, r->number, buf_slice(&b), err);
	buf_free(&b);
	return ok;
}

static bool store_plan(struct storage *s, const struct plan_record *r, struct error *err)
{
	struct buf b = {0};
	buf_varint(&b, r->count);
	for (size_t i = 0; i < r->count; i++)
		buf_varint(&b, r->numbers[i]);
	buf_append(&b, r->text.p, r->text.n);
	bool ok = s->backend->ops->small_put(s->backend, SMALL_PLANS, (uint32_t)r->id, buf_slice(&b), err);
	buf_free(&b);
	return ok;
}

bool definition_set_state(struct storage *s, struct definition_record *r, enum definition_state state, struct error *err)
{
	r->state = state;
	s->any_dropping |= state == DEFINITION_DROPPING;
	return store_definition(s, r, err);
}

void definitions_committed(struct storage *s)
{
	for (size_t i = 0; i < s->definition_count; i++)
		s->definitions[i].committed_state = s->definitions[i].state;
}

/* Definitions that the transaction made are gone with it, those that it changed are what they were. */
void definitions_rollback(struct storage *s)
{
	bool changed = false;
	while (s->definition_count && s->definitions[s->definition_count - 1].number > s->committed.last_definition)
		s->definition_count--;
	s->any_dropping = false;
	for (size_t i = 0; i < s->definition_count; i++) {
		struct definition_record *r = &s->definitions[i];
		changed |= r->state != r->committed_state;
		r->state = r->committed_state;
		s->any_dropping |= r->state == DEFINITION_DROPPING;
	}
	if (changed)
		plans_show(s);
}

bool definition_is_dropping(const struct storage *s, uint32_t number)
{
	if (!s->any_dropping)
		return false;
	const struct definition_record *r = find_number(s, number);
	return r && r->state == DEFINITION_DROPPING;
}

bool definition_is_maintained(const struct storage *s, uint32_t number)
{
	const struct definition_record *r = find_number(s, number);
	return r && r->state != DEFINITION_DROPPING;
}

/* ---- deploy ---- */

static bool same_identity(const struct definition_record *r, const struct definition *d)
{
	return r->kind == d->kind && memcmp(r->hash, d->hash, sizeof(r->hash)) == 0 && slice_eq(r->content, d->content);
}

bool record_fits(const struct storage *s, const struct plan_record *r, const struct plan *plan)
{
	if (plan_definition_count(plan) != r->count)
		return false;
	for (size_t i = 0; i < r->count; i++) {
		const struct definition_record *d = find_number(s, r->numbers[i]);
		if (!d || !same_identity(d, plan_definition(plan, (uint32_t)i)))
			return false;
	}
	return true;
}

static void attach_active(struct storage *s, struct plan *plan)
{
	plan_unref(s->active_plan);
	s->active_plan = plan_ref(plan);
	s->active_stale = !record_fits(s, &s->active_record, plan) || !custom_fits(s, plan, false);
	plans_show(s);
}

bool storage_attach_active(struct storage *s, struct plan *plan, struct error *err)
{
	if (s->shared)
		return true; /* it was compiled when it was loaded */
	if (!s->active_record.id)
		return error_set(err, "PSYNC_S2302", "the store has no active sync config");
	if (plan_definition_count(plan) != s->active_record.count) {
		/* Nothing is served until the same text was deployed anew. */
		log_warn(s->log,
		         "This version of the program reads the active sync config differently: it will be processed again");
		return true;
	}
	for (size_t i = 0; i < s->active_record.count; i++) {
		const struct definition_record *d = find_number(s, s->active_record.numbers[i]);
		struct slice newer =
		        d ? revision_unknown(d->content, plan_definition(plan, (uint32_t)i)->content) : (struct slice){NULL, 0};
		if (newer.p)
			return error_set(
			        err, "PSYNC_S1005",
			        "The store was filled by a newer version of this program, which knows %.*s: use that version, "
			        "or an empty store",
			        SLICE_ARG(newer));
	}
	attach_active(s, plan);
	if (s->active_stale)
		log_warn(s->log, "Definitions of the active sync config have changed with this version of the program; they will "
		                 "be filled again");
	return true;
}

/* The definition to use for d: one that is maintained, or a new one. */
static uint32_t choose_definition(struct storage *s, const struct definition *d, uint64_t epoch, struct error *err)
{
	for (size_t i = 0; i < s->definition_count; i++) {
		const struct definition_record *r = &s->definitions[i];
		if (r->state != DEFINITION_DROPPING && same_identity(r, d))
			return r->number;
	}
	s->definitions = xgrow(s->definitions, s->definition_count, &s->definition_cap, sizeof(*s->definitions));
	struct definition_record *r = &s->definitions[s->definition_count++];
	*r = (struct definition_record){.number = ++s->state.last_definition,
	                                .kind = d->kind,
	                                .state = DEFINITION_FILLING,
	                                .committed_state = DEFINITION_FILLING,
	                                .epoch = epoch,
	                                .name = arena_copy(&s->arena, d->name),
	                                .content = arena_copy(&s->arena, d->content)};
	memcpy(r->hash, d->hash, sizeof(r->hash));
	s->state.epoch = epoch;
	return store_definition(s, r, err) ? r->number : 0;
}

/* Replaces the pending plan by r (id 0: by none) in a transaction of its own. epoch: for what is new in it. */
static bool replace_pending(struct storage *s, const struct plan_record *r, struct plan *plan, uint64_t epoch, struct error *err)
{
	uint64_t old = s->pending_record.id;
	struct custom_state events;
	const struct plan_record *retired[MAX_RETIRED_PLANS];
	size_t retired_count = retired_records(s, retired);
	bool ok = definitions_settle(s, &s->active_record, r, retired, retired_count, err) &&
	          custom_deploy(s, plan, epoch, &events, err);
	if (ok && old)
		ok = s->backend->ops->small_delete(s->backend, SMALL_PLANS, (uint32_t)old, err);
	if (ok && r->id)
		ok = store_plan(s, r, err);
	s->state.pending_plan = r->id;
	if (!ok || !storage_flush(s, err)) {
		storage_rollback(s);
		return false;
	}
	plan_unref(s->pending_plan);
	s->pending_record = *r;
	s->pending_plan = r->id ? plan_ref(plan) : NULL;
	s->activating = false;
	custom_deployed(s, &events);
	plans_show(s);
	return true;
}

static bool deploy_new(struct storage *s, struct plan *plan, struct error *err)
{
	if (!writer_begin(s, err))
		return false;
	struct plan_record r = {.count = plan_definition_count(plan), .text = arena_copy(&s->arena, plan_text(plan))};
	r.id = ++s->state.last_plan;
	r.numbers = arena_array(&s->arena, uint32_t, r.count);
	uint64_t epoch = s->state.epoch + 1; /* taken if anything is made */
	for (size_t i = 0; i < r.count; i++) {
		r.numbers[i] = choose_definition(s, plan_definition(plan, (uint32_t)i), epoch, err);
		if (!r.numbers[i]) {
			storage_rollback(s);
			return false;
		}
	}
	return replace_pending(s, &r, plan, epoch, err);
}

bool storage_deploy(struct storage *s, struct plan *plan, bool *unchanged, struct error *err)
{
	struct slice text = plan_text(plan);
	if (s->shared)
		return s->shared->deploy(s, plan, unchanged, err);
	*unchanged = false;
	/* What was written before must not be lost if the deploy fails. */
	if (!storage_flush(s, err) || !retirement_prune(s, err))
		return false;
	if (s->active_record.id && !s->active_plan && slice_eq(text, s->active_record.text) &&
	    record_fits(s, &s->active_record, plan) && custom_fits(s, plan, false))
		attach_active(s, plan);
	if (s->active_plan && !s->active_stale && slice_eq(text, s->active_record.text)) {
		*unchanged = !s->pending_record.id;
		struct plan_record none = {0};
		return *unchanged || (writer_begin(s, err) && replace_pending(s, &none, NULL, 0, err));
	}
	if (s->pending_record.id && slice_eq(text, s->pending_record.text) && record_fits(s, &s->pending_record, plan) &&
	    custom_fits(s, plan, true)) {
		if (!s->pending_plan) {
			s->pending_plan = plan_ref(plan);
			plans_show(s);
		}
		return true;
	}
	return deploy_new(s, plan, err);
}

bool storage_definition_ready(struct storage *s, uint32_t number, struct error *err)
{
	if (s->shared)
		return true; /* a stream becomes ready as a whole */
	struct definition_record *r = find_number(s, number);
	if (!r || r->state == DEFINITION_DROPPING)
		return error_set(err, "PSYNC_S1101", "definition %u is not being filled", number);
	if (r->state != DEFINITION_FILLING)
		return true;
	if (!writer_begin(s, err) || !definition_set_state(s, r, DEFINITION_READY, err))
		return writer_fail(s);
	plans_show(s);
	return true;
}

bool storage_activate_pending(struct storage *s, struct error *err)
{
	if (s->shared)
		return s->shared->activate_pending(s, err);
	if (!s->pending_plan)
		return error_set(err, "PSYNC_S1101", "there is no pending sync config to activate");
	for (size_t i = 0; i < s->pending_record.count; i++) {
		const struct definition_record *r = find_number(s, s->pending_record.numbers[i]);
		if (!r || r->state == DEFINITION_FILLING)
			return error_set(err, "PSYNC_S1101", "definition %u is not filled yet", s->pending_record.numbers[i]);
	}
	s->activating = true;
	return true;
}

bool definitions_activate(struct storage *s, struct store_state *next, struct error *err)
{
	if (!retirement_activate(s, next, err))
		return false;
	next->active_plan = s->pending_record.id;
	next->pending_plan = 0;
	return custom_activate(s, err);
}

void definitions_activated(struct storage *s)
{
	retirement_activated(s);
	s->active_record = s->pending_record;
	s->active_plan = s->pending_plan;
	s->active_stale = false;
	s->pending_record = (struct plan_record){0};
	s->pending_plan = NULL;
	s->activating = false;
	custom_activated(s);
	plans_show(s);
}
