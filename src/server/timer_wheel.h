/*
 * timer_wheel.h: time-outs of one net thread, tens of thousands of them, at a coarse resolution.
 *
 * Setting and clearing is O(1); one libevent timer per loop turns the wheel. An entry lies in the object that it belongs to. Times
 * are monotonic milliseconds. Net thread only.
 */
#ifndef SYNCLINE_SERVER_TIMER_WHEEL_H
#define SYNCLINE_SERVER_TIMER_WHEEL_H

#include <stddef.h>
#include <stdint.h>

#define WHEEL_TICK_MS 50
#define WHEEL_SLOTS 512

struct timer_entry {
	struct timer_entry *prev, *next; /* NULL: not set */
	int64_t at_ms;
	void (*fire)(struct timer_entry *entry); /* unset by then; may set it again, or free the object */
};

struct timer_wheel {
	struct timer_entry slots[WHEEL_SLOTS]; /* heads of circular lists */
	int64_t turned;                        /* ticks done */
	size_t count;
};

void timer_wheel_init(struct timer_wheel *w, int64_t now_ms);
/* Replaces an earlier setting. Fires at the first turn at or after at_ms. */
void timer_set(struct timer_wheel *w, struct timer_entry *e, int64_t at_ms);
void timer_clear(struct timer_wheel *w, struct timer_entry *e);
void timer_wheel_turn(struct timer_wheel *w, int64_t now_ms);

#endif
