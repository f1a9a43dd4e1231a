/*
 * instance.c: the random id of a store, which labels its metrics (http-api-and-operations 9).
 *
 * META_INSTANCE record: the UUID as 36 characters. Written by the first open that finds none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "storage/internal.h"

static bool decode_instance(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct storage *s = ctx;
	(void)err;
	if (number == META_INSTANCE && value.n == sizeof(s->instance_id) - 1)
		memcpy(s->instance_id, value.p, value.n);
	return true;
}

/* A UUID of version 4. */
static bool make_id(char out[INSTANCE_ID_SIZE], struct error *err)
{
	unsigned char b[16];
	if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
		return error_set(err, "", "no random numbers are to be had");
	b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
	b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
	snprintf(out, INSTANCE_ID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
	         b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
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
	if (!make_id(s->instance_id, err) || !ops->write_begin(s->backend, err))
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
