/*
 * transfer.h: what a stream's blocks become before they are framed: nothing (identity), or compressed blocks of the content coding
 * that was negotiated (sync-protocol 3).
 *
 * Runs on workers, within the step that made the blocks, and never keeps a line back: what is ready is flushed. Compression state
 * belongs to a step, not to an idle stream:
 *   gzip: one member. Each step is a run of deflate blocks made with a fresh state and ended by a full flush; the stream keeps checksum and
 *         length for the trailer.
 *   zstd: one frame for the whole response (decoders drop what follows a first frame), so a stream keeps a context of a bounded
 *         pool while it is busy; when it goes idle it gives the context back and goes on with stored blocks in the same frame.
 */
#ifndef SYNCLINE_SERVER_TRANSFER_H
#define SYNCLINE_SERVER_TRANSFER_H

#include <stdbool.h>

#include "base/buf.h"
#include "sync/session.h"

enum content_coding { CODING_IDENTITY, CODING_GZIP, CODING_ZSTD, CODING_COUNT };

struct transfer;
struct transfer_codings; /* what the streams of a server share: compressors that are not in use, and the bound of the zstd pool */

struct transfer_codings *transfer_codings_new(size_t zstd_contexts);
void transfer_codings_free(struct transfer_codings *c);

/* NULL for identity. With no zstd context left: gzip if the client takes that too, else identity. Any thread. */
struct transfer *transfer_new(struct transfer_codings *c, enum content_coding coding, bool gzip_too);
void transfer_free(struct transfer *t);
/* Replaces out's blocks by at most one that holds them encoded; bytes becomes its length, lines stays. last: the clean end of the stream:
 * adds what ends the coding, also to an empty output. idle: nothing more is ready. now_ms: monotonic. One thread at a time. */
void transfer_encode(struct transfer *t, struct session_output *out, bool last, bool idle, int64_t now_ms);
/* A whole body at once; before anything else was encoded. */
void transfer_encode_body(struct transfer *t, struct buf *body);
enum content_coding transfer_coding(const struct transfer *t);
/* "gzip"; NULL for identity. */
const char *content_coding_name(enum content_coding coding);

#endif
