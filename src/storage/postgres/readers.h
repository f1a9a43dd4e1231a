/*
 * readers.h: what sessions read of a shared store.
 *
 * A reader holds no connection and no snapshot between calls: it relies on op ids. Three things can change under it, and each statement looks
 * for them in its own snapshot: the stream may have been replaced, and its data be on the way out (an error then: PSYNC_S2302); a
 * compaction, by whatever process, may have replaced the beginning of a bucket by a CLEAR (names.h, pg_names_note_clear); the same may have made
 * MOVEs, which say so themselves. Everything that is cached here is right as of one point in time.
 */
#ifndef SYNCLINE_STORAGE_POSTGRES_READERS_H
#define SYNCLINE_STORAGE_POSTGRES_READERS_H

#include "storage/postgres/store.h"

struct pg_sums;

struct pg_sums *pg_sums_new(void);
void pg_sums_free(struct pg_sums *s);

/* struct backend_ops: the functions of the same names. */
struct storage_reader *pg_read_begin(struct backend *b, struct error *err);
void pg_read_end(struct storage_reader *r);
uint32_t pg_read_bucket(struct storage_reader *r, uint32_t definition, struct slice keys);
bool pg_read_bucket_name(struct storage_reader *r, uint32_t bucket, uint32_t *definition, struct slice *keys);
bool pg_read_checksum(struct storage_reader *r, uint32_t bucket, uint64_t c, struct bucket_checksum *out, struct error *err);
bool pg_read_checksums(struct storage_reader *r, const uint32_t *buckets, size_t count, uint64_t c, bool fresh,
                       struct bucket_checksum *out, struct error *err);
struct op_cursor *pg_read_ops(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to, struct error *err);
bool pg_read_ops_ahead(struct storage_reader *r, const struct op_range *ranges, size_t count, uint64_t up_to, size_t max_bytes,
                       struct error *err);
bool pg_read_ops_at_hand(struct storage_reader *r, uint32_t bucket, uint64_t after, uint64_t up_to);
bool pg_read_lookups(struct storage_reader *r, const struct lookup_read *keys, size_t count, uint64_t c, size_t max_rows,
                     lookup_result_fn each, void *ctx, struct error *err);

#endif
