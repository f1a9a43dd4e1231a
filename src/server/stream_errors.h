/* stream_errors.h: why a sync stream could not start, as an answer (sync-protocol 2) or as the text of an RSocket error (9). */
#ifndef SYNCLINE_SERVER_STREAM_ERRORS_H
#define SYNCLINE_SERVER_STREAM_ERRORS_H

#include "base/buf.h"
#include "base/error.h"
#include "server/http_response.h"

/* err: of session_new or of a first session_step. Codes that clients may see pass, everything else becomes PSYNC_S2001. */
void stream_error_response(struct response *r, const struct error *err);
/* "[CODE] description", and the details on a second line. */
void stream_error_text(struct buf *out, const struct error *err);

#endif
