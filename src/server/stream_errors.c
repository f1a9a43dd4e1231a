/* stream_errors.c: only codes that belong to clients are shown with their text. */
#include "server/stream_errors.h"

#include <string.h>

static bool is_code(const struct error *err, const char *code)
{
	return err->code && strcmp(err->code, code) == 0;
}

/* Codes whose message was written for the client. */
static bool is_public(const struct error *err)
{
	return is_code(err, "PSYNC_S2305") || is_code(err, "PSYNC_S2302") || is_code(err, "PSYNC_S2003");
}

void stream_error_response(struct response *r, const struct error *err)
{
	if (is_code(err, "PSYNC_S2003")) {
		response_error(r, &(struct error_body){
		                          .status = 503,
		                          .code = "PSYNC_S2003",
		                          .description = SLICE("Service temporarily unavailable"),
		                          .name = "ServiceError",
		                  });
	} else if (is_code(err, "PSYNC_S2302")) {
		response_error(r, &(struct error_body){
		                          .status = 500,
		                          .code = "PSYNC_S2302",
		                          .description = SLICE("No sync config available"),
		                          .name = "ServiceError",
		                  });
	} else if (is_code(err, "PSYNC_S2305")) {
		response_error(r, &(struct error_body){
		                          .status = 500,
		                          .omit_status = true,
		                          .code = "PSYNC_S2305",
		                          .description = slice_cstr(err->message),
		                          .name = "ServiceError",
		                  });
	} else {
		response_internal(r);
	}
}

void stream_error_text(struct buf *out, const struct error *err)
{
	if (is_code(err, "PSYNC_S2302"))
		buf_lit(out, "[PSYNC_S2302] No sync config available");
	else if (is_code(err, "PSYNC_S2003"))
		buf_lit(out, "[PSYNC_S2003] Service temporarily unavailable");
	else if (is_public(err))
		buf_printf(out, "[PSYNC_S2001] Something went wrong\n  [%s] %s", err->code, err->message);
	else
		buf_lit(out, "[PSYNC_S2001] Something went wrong");
}
