/*
 * bson_json.h: a BSON document as JSON text, for requests that come in BSON: the same parser then judges both.
 *
 * Types that JSON has (and 64-bit integers, with all their digits); others make the document invalid. Depth and size are bounded.
 */
#ifndef SYNCLINE_SERVER_BSON_JSON_H
#define SYNCLINE_SERVER_BSON_JSON_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

/* Appends; false: not well-formed, too deep (32), or a type without a place in JSON. */
bool bson_to_json(struct slice document, struct buf *out);

#endif
