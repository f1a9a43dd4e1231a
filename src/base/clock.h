/* clock.h: wall time for people and tokens, monotonic time for everything that waits. Any thread. */
#ifndef SYNCLINE_BASE_CLOCK_H
#define SYNCLINE_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t clock_wall_ms(void); /* milliseconds since 1970, UTC */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);

#define CLOCK_ISO_SIZE 32
/* 2026-11-25T03:08:02.123Z */
void clock_iso(int64_t wall_ms, char out[CLOCK_ISO_SIZE]);

#endif
