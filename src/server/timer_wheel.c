/* timer_wheel.c: a hashed wheel of one level; an entry beyond the horizon goes round again. */
#include "server/timer_wheel.h"

static struct timer_entry *slot_of(struct timer_wheel *w, int64_t tick)
{
	return &w->slots[(uint64_t)tick % WHEEL_SLOTS];
}

static void list_init(struct timer_entry *head)
{
	head->prev = head->next = head;
}

static void link_before(struct timer_entry *head, struct timer_entry *e)
{
	e->prev = head->prev;
	e->next = head;
	head->prev->next = e;
	head->prev = e;
}

void timer_wheel_init(struct timer_wheel *w, int64_t now_ms)
{
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		list_init(&w->slots[i]);
	w->turned = now_ms / WHEEL_TICK_MS;
	w->count = 0;
}

void timer_clear(struct timer_wheel *w, struct timer_entry *e)
{
	if (!e->next)
		return;
	e->prev->next = e->next;
	e->next->prev = e->prev;
	e->prev = e->next = NULL;
	w->count--;
}

void timer_set(struct timer_wheel *w, struct timer_entry *e, int64_t at_ms)
{
	timer_clear(w, e);
	int64_t tick = (at_ms + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
	if (tick <= w->turned)
		tick = w->turned + 1;
	e->at_ms = at_ms;
	link_before(slot_of(w, tick), e);
	w->count++;
}

void timer_wheel_turn(struct timer_wheel *w, int64_t now_ms)
{
	int64_t now = now_ms / WHEEL_TICK_MS;
	if (now - w->turned > WHEEL_SLOTS)
		w->turned = now - WHEEL_SLOTS;
	while (w->turned < now) {
		struct timer_entry *slot = slot_of(w, ++w->turned);
		/* Taken off as a whole: what is set meanwhile, for one round later, must not be looked at again. */
		struct timer_entry due;
		if (slot->next == slot)
			continue;
		due.next = slot->next;
		due.prev = slot->prev;
		due.next->prev = due.prev->next = &due;
		list_init(slot);
		while (due.next != &due) {
			struct timer_entry *e = due.next;
			timer_clear(w, e);
			if (e->at_ms > now_ms)
				timer_set(w, e, e->at_ms);
			else
				e->fire(e);
		}
	}
}
