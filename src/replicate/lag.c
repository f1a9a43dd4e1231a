/* lag.c: see lag.h. */
#include "replicate/lag.h"

void lag_note(struct lag_window *w, int64_t mono_ms, double lag_s)
{
	int64_t slot = mono_ms / LAG_BUCKET_MS;
	int i = (int)(slot % LAG_BUCKETS);
	if (w->slot[i] != slot) {
		w->slot[i] = slot;
		w->greatest[i] = 0;
	}
	if (lag_s > w->greatest[i])
		w->greatest[i] = lag_s;
}

double lag_greatest(const struct lag_window *w, int64_t mono_ms)
{
	int64_t slot = mono_ms / LAG_BUCKET_MS;
	double greatest = 0;
	for (int i = 0; i < LAG_BUCKETS; i++)
		if (w->slot[i] > slot - LAG_BUCKETS && w->greatest[i] > greatest)
			greatest = w->greatest[i];
	return greatest;
}
