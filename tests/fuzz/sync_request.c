/* sync_request.c: any body of a sync request is taken or refused with the right kind of error, in bounded work. */
#include <stdlib.h>

#include "base/arena.h"
#include "sync/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	struct sync_request request;
	struct slice details;
	struct error err = {.code = NULL};
	if (sync_request_parse(slice_make(data, size), &arena, &request, &details, &err)) {
		for (size_t i = 0; i < request.bucket_count; i++)
			if (request.buckets[i].after > INT64_MAX)
				abort();
		for (size_t i = 0; i < request.subscription_count; i++)
			if (request.subscriptions[i].override_priority < -1 || request.subscriptions[i].override_priority > 3)
				abort();
	} else if (!err.code || !*err.code) {
		abort();
	}
	arena_reset(&arena);
	return 0;
}
