/*
 * transfer.h: what a stream's blocks become before they are framed: nothing (identity), or compressed blocks of the content coding
 * that was negotiated (sync-protocol 3).
 *
 * Runs on workers, within the step that made the blocks, and never keeps a line back: what is ready is flushed.
 */
#ifndef SYNCLINE_SERVER_TRANSFER_H
#define SYNCLINE_SERVER_TRANSFER_H

#include <stdbool.h>

#include "sync/session.h"

enum content_coding { CODING_IDENTITY, CODING_GZIP, CODING_ZSTD };

struct transfer;
struct transfer_codings; /* what is shared by the streams of a server: the compressors in use and their bound */

struct transfer_codings *transfer_codings_new(size_t zstd_contexts);
void transfer_codings_free(struct transfer_codings *c);

/* NULL for identity. With no zstd compressor left: gzip if the client takes that too, else identity. */
struct transfer *transfer_new(struct transfer_codings *c, enum content_coding coding, bool gzip_too);
void transfer_free(struct transfer *t);
/* Replaces out's blocks by encoded ones. last: the clean end of the stream; adds what ends the coding, also to an empty output. */
void transfer_encode(struct transfer *t, struct session_output *out, bool last);
enum content_coding transfer_coding(const struct transfer *t);
/* "gzip"; NULL for identity. */
const char *content_coding_name(enum content_coding coding);

#endif
