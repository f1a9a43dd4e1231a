/*
 * uuid.h: the UUIDs (version 5) that stand for replica identities, in the reference's namespace (source-postgres 5.1, storage-semantics 3).
 */
#ifndef SYNCLINE_VALUE_UUID_H
#define SYNCLINE_VALUE_UUID_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Of the parts, one after the other. Any thread; costs one SHA-1, nothing is allocated after a thread's first call. */
void uuid_of_identity(const struct slice *parts, size_t count, uint8_t uuid[16]);

#endif
