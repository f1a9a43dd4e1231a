/* preview.c: see preview.h. Stands on the plans that are shown to all threads, so that nobody waits for the writer. */
#include "storage/preview.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static bool same_identity(const struct definition *a, const struct definition *b)
{
	return a->kind == b->kind && memcmp(a->hash, b->hash, sizeof(a->hash)) == 0 && slice_eq(a->content, b->content);
}

/* The stored definition, or NULL. */
static const struct stored_definition *find(const struct stored_plan *p, const struct definition *d)
{
	for (uint32_t i = 0; p && i < p->count; i++)
		if (same_identity(plan_definition(p->plan, i), d))
			return &p->definitions[i];
	return NULL;
}

static bool plan_has(const struct plan *plan, const struct definition *d)
{
	for (uint32_t i = 0; i < plan_definition_count(plan); i++)
		if (same_identity(plan_definition(plan, i), d))
			return true;
	return false;
}

static void add(struct plan_preview *out, enum change_kind kind, const struct definition *d, const struct stored_definition *s)
{
	out->changes[out->count++] = (struct definition_change){
	        .kind = kind,
	        .definition = d,
	        .number = s ? s->number : 0,
	        .filling = s && s->state == DEFINITION_FILLING,
	};
	out->counts[kind]++;
}

static void classify(struct plan_preview *out, const struct stored_plan *active, const struct definition *d)
{
	const struct stored_definition *known = find(active, d);
	if (known) {
		add(out, CHANGE_KEPT, d, known);
		return;
	}
	for (size_t i = 0; i < out->held_count && !known; i++)
		known = find(out->held[i], d);
	add(out, known ? CHANGE_REUSABLE : CHANGE_NEW, d, known);
}

void storage_preview(struct storage *s, const struct plan *plan, struct plan_preview *out)
{
	struct stored_plan *active = storage_active_plan(s), *pending = storage_pending_plan(s);
	size_t count = plan_definition_count(plan);
	*out = (struct plan_preview){.unchanged = active && !pending && slice_eq(plan_text(active->plan), plan_text(plan))};
	if (active)
		out->held[out->held_count++] = active;
	if (pending)
		out->held[out->held_count++] = pending;
	out->held_count += storage_retired_plans(s, out->held + out->held_count);
	out->changes = xcalloc(count + (active ? active->count : 0) + 1, sizeof(*out->changes));
	for (uint32_t i = 0; i < count; i++)
		classify(out, active, plan_definition(plan, i));
	for (uint32_t i = 0; active && i < active->count; i++)
		if (!plan_has(plan, plan_definition(active->plan, i)))
			add(out, CHANGE_REMOVED, plan_definition(active->plan, i), &active->definitions[i]);
}

void plan_preview_free(struct plan_preview *p)
{
	for (size_t i = 0; i < p->held_count; i++)
		stored_plan_unref(p->held[i]);
	free(p->changes);
	*p = (struct plan_preview){0};
}
