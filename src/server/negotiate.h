/* negotiate.h: Accept and Accept-Encoding of a stream request (the tables of sync-protocol 3). */
#ifndef SYNCLINE_SERVER_NEGOTIATE_H
#define SYNCLINE_SERVER_NEGOTIATE_H

#include "base/slice.h"
#include "server/transfer.h"
#include "sync/session.h"

#define NDJSON_TYPE "application/x-ndjson"
#define BSON_TYPE "application/vnd.powersync.bson-stream"

/* p == NULL: the header is absent. There is always an answer. */
enum line_encoding negotiate_lines(struct slice accept);
/* *gzip_too: the client takes gzip as well, should the chosen coding not be available. */
enum content_coding negotiate_coding(struct slice accept_encoding, bool *gzip_too);

#endif
