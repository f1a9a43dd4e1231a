/*
 * instance.c: the random id of a store, which labels its metrics (http-api-and-operations 9).
 *
 * META_INSTANCE record: the UUID as 36 characters. Written by the first open that finds none.
 */
#include <stdlib.h>

#include "storage/digest.h"
#include "storage/internal.h"

static bool decode_instance(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	(void)err;
	if (number == META_INSTANCE && value.n == sizeof(s->instance_id) - 1)
		memcpy(s->instance_id, value.p, value.n);
	return true;
}

bool instance_load(struct storage *s, bool read_only, struct error *err)
{
	struct changed_buckets none = {0};
	const struct backend_ops *ops = s->backend->ops;
	if (!ops->small_each(s->backend, SMALL_META, decode_instance, s, err))
		return false;
	if (s->instance_id[0] || read_only)
		return true;
	uuid_random_text(s->instance_id);
	if (!ops->write_begin(s->backend, err))
		return false;
	bool ok = ops->small_put(s->backend, SMALL_META, META_INSTANCE, slice_cstr(s->instance_id), err) &&
	          ops->write_commit(s->backend, &none, err);
	if (!ok)
		ops->write_abort(s->backend);
	free(none.items);
	return ok;
}

const char *storage_instance_id(const struct storage *s)
{
	return s->instance_id;
}
