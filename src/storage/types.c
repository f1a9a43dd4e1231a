/* types.c: numbers of object types. Each text is stored once, with the first commit that uses it. */
#include "base/alloc.h"
#include "storage/internal.h"

static bool load_type(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	struct apply *a = &s->apply;
	if (number >= NAMES_MAX)
		return error_set(err, "PSYNC_S2404", "the store is damaged: object type %u", number);
	a->types = xgrow(a->types, a->type_count, &a->type_cap, sizeof(*a->types));
	a->types[a->type_count++] = (struct type_number){names_set(&s->type_names, number, value), number};
	return true;
}

bool types_load(struct storage *s, struct error *err)
{
	s->types_committed = s->state.type_count;
	return s->backend->ops->small_each(s->backend, SMALL_STRINGS, load_type, s, err);
}

bool types_store(struct storage *s, struct error *err)
{
	for (size_t i = 0; i < s->apply.type_count; i++) {
		const struct type_number *t = &s->apply.types[i];
		if (t->number > s->types_committed &&
		    !s->backend->ops->small_put(s->backend, SMALL_STRINGS, t->number, t->text, err))
			return false;
	}
	return true;
}

void types_rollback(struct storage *s)
{
	struct apply *a = &s->apply;
	size_t kept = 0;
	for (size_t i = 0; i < a->type_count; i++)
		if (a->types[i].number <= s->types_committed)
			a->types[kept++] = a->types[i];
	a->type_count = kept;
	a->last_type[0] = a->last_type[1] = 0;
}

/* There are as many types as output tables; the two used last are tried first. */
uint32_t type_number(struct storage *s, struct slice text, struct error *err)
{
	struct apply *a = &s->apply;
	for (int i = 0; i < 2; i++)
		if (a->last_type[i] < a->type_count && slice_eq(a->types[a->last_type[i]].text, text))
			return a->types[a->last_type[i]].number;
	size_t at = 0;
	while (at < a->type_count && !slice_eq(a->types[at].text, text))
		at++;
	if (at == a->type_count) {
		if (s->state.type_count + 1 >= NAMES_MAX) {
			error_set(err, "PSYNC_S2404", "the store cannot hold more than %d object types", NAMES_MAX);
			return 0;
		}
		load_type(s, ++s->state.type_count, text, err);
	}
	a->last_type[1] = a->last_type[0];
	a->last_type[0] = (uint32_t)at;
	return a->types[at].number;
}
