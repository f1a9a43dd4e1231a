/* clock.c */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
	struct timespec t;
	clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_ms(void)
{
	return read_us(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_mono_us(void)
{
	return read_us(CLOCK_MONOTONIC);
}

void clock_iso(int64_t wall_ms, char out[CLOCK_ISO_SIZE])
{
	time_t s = (time_t)(wall_ms / 1000);
	struct tm t;
	gmtime_r(&s, &t);
	size_t n = strftime(out, CLOCK_ISO_SIZE, "%Y-%m-%dT%H:%M:%S", &t);
	snprintf(out + n, CLOCK_ISO_SIZE - n, ".%03dZ", (int)(wall_ms % 1000));
}
