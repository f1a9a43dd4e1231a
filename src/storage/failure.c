/*
 * failure.c: why replication failed last (storage-semantics 1), kept over restarts.
 *
 * META_FAILURE record: the text; none: all is well. Whatever is committed after it removes it.
 */
#include <string.h>

#include "storage/internal.h"

static bool load(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	(void)err;
	if (number == META_FAILURE && value.n < sizeof(s->failure.text))
		memcpy(s->failure.text, value.p, value.n);
	return true;
}

bool failure_load(struct storage *s, struct error *err)
{
	return s->backend->ops->small_each(s->backend, SMALL_META, load, s, err);
}

bool failure_settle(struct storage *s, struct error *err)
{
	if (!s->failure.text[0] || s->failure.fresh)
		return true;
	return s->backend->ops->small_delete(s->backend, SMALL_META, META_FAILURE, err);
}

void failure_settled(struct storage *s)
{
	if (s->failure.text[0] && !s->failure.fresh) {
		pthread_mutex_lock(&s->lock);
		s->failure.text[0] = '\0';
		pthread_mutex_unlock(&s->lock);
	}
	s->failure.fresh = false;
}

bool storage_report_failure(struct storage *s, struct slice text, struct error *err)
{
	struct slice kept = text;
	if (kept.n >= STORAGE_FAILURE_SIZE) /* between two characters */
		for (kept.n = STORAGE_FAILURE_SIZE - 1; kept.n && (text.p[kept.n] & 0xc0) == 0x80;)
			kept.n--;
	if (slice_eq(kept, slice_cstr(s->failure.text)))
		return true;
	if (s->shared) {
		if (!s->shared->report_failure(s, kept, err))
			return false;
	} else if (!writer_begin(s, err) || !s->backend->ops->small_put(s->backend, SMALL_META, META_FAILURE, kept, err)) {
		return writer_fail(s);
	}
	pthread_mutex_lock(&s->lock);
	memcpy(s->failure.text, kept.p, kept.n);
	s->failure.text[kept.n] = '\0';
	pthread_mutex_unlock(&s->lock);
	s->failure.fresh = true;
	return s->shared || storage_flush(s, err);
}

void storage_last_failure(struct storage *s, char out[STORAGE_FAILURE_SIZE])
{
	pthread_mutex_lock(&s->lock);
	memcpy(out, s->failure.text, STORAGE_FAILURE_SIZE);
	pthread_mutex_unlock(&s->lock);
}
