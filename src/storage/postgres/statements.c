/*
 * statements.c: see statements.h. Each is bounded by its parameters, and every one that a session step runs goes by an index of the
 * reference's layout: operations and checksums by the primary key of bucket_data, lookups by bucket_parameters_lookup_index.
 */
#include "storage/postgres/statements.h"

static const char *const texts[PG_STATEMENTS] = {
        [PG_READ_STREAM] = "SELECT id, last_checkpoint, last_checkpoint_lsn, storage_version, slot_name, state FROM sync_rules"
                           " WHERE state IN ('ACTIVE', 'ERRORED') ORDER BY id DESC LIMIT 1",

        [PG_READ_CONTENT] = "SELECT content, sync_plan::text FROM sync_rules WHERE id = $1",

        /* $2 names, $3 the op ids behind which to begin, $4 the checkpoint. */
        [PG_CHECKSUMS] = "SELECT b.n, a.count, a.sum, a.cleared FROM unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS b "
                         "(name, after, n)"
                         " CROSS JOIN LATERAL (SELECT count(*) AS count,"
                         "  ((coalesce(sum(d.checksum), 0) % 4294967296 + 4294967296) % 4294967296)::bigint AS sum, "
                         "coalesce(bool_or(d.op = 'CLEAR'), false) AS cleared"
                         "  FROM bucket_data d WHERE d.group_id = $1::integer AND d.bucket_name = b.name AND d.op_id > b.after"
                         "  AND d.op_id <= $4::bigint) a",

        /* $5 rows at most, $6 bytes of data after which no further row is wanted. */
        [PG_OPERATIONS] =
                "SELECT op_id, op, checksum, source_table, source_key, table_name, row_id, data, target_op FROM ("
                " SELECT *, sum(coalesce(octet_length(data), 0)) OVER (ORDER BY op_id) - coalesce(octet_length(data), 0) AS "
                "before"
                " FROM (SELECT op_id, op, checksum, source_table, source_key, table_name, row_id, data, target_op FROM "
                "bucket_data"
                "  WHERE group_id = $1::integer AND bucket_name = $2::text AND op_id > $3::bigint AND op_id <= $4::bigint"
                "  ORDER BY op_id LIMIT $5::integer) o) w WHERE before < $6::bigint ORDER BY op_id",

        /* Of each row that ever had an entry under the lookup, the newest at the checkpoint, unless that says that it has none. */
        [PG_LOOKUP] = "SELECT bucket_parameters FROM ("
                      " SELECT DISTINCT ON (source_table, source_key) bucket_parameters FROM bucket_parameters"
                      " WHERE group_id = $1::integer AND lookup = $2::bytea AND id <= $3::bigint"
                      " ORDER BY source_table, source_key, id DESC) p WHERE bucket_parameters <> '[]' LIMIT $4::integer",

        [PG_CHANGED_BUCKETS] = "SELECT b.n FROM unnest($2::text[]) WITH ORDINALITY AS b (name, n) WHERE EXISTS ("
                               " SELECT FROM bucket_data d WHERE d.group_id = $1::integer AND d.bucket_name = b.name"
                               " AND d.op_id > $3::bigint AND d.op_id <= $4::bigint)",

        [PG_CHANGED_LOOKUPS] =
                "SELECT DISTINCT lookup FROM (SELECT group_id, lookup FROM bucket_parameters"
                " WHERE id > $2::bigint AND id <= $3::bigint ORDER BY id LIMIT $4::integer) p WHERE group_id = $1::integer",

        /* Ids that are acknowledged at the position, by user. */
        [PG_USERS] = "SELECT u.n, w.write_checkpoint FROM unnest($1::text[]) WITH ORDINALITY AS u (name, n)"
                     " JOIN write_checkpoints w ON w.user_id = u.name AND (w.lsns ->> '1') COLLATE \"C\" <= $2::text",

        [PG_CUSTOM_USERS] = "SELECT u.n, w.write_checkpoint FROM unnest($1::text[]) WITH ORDINALITY AS u (name, n)"
                            " JOIN custom_write_checkpoints w ON w.user_id = u.name AND w.sync_rules_id = $2::integer",

        [PG_SIZES] =
                "SELECT pg_total_relation_size('bucket_data'), pg_total_relation_size('bucket_parameters'),"
                " pg_total_relation_size('current_data') + coalesce(pg_total_relation_size(to_regclass('v3_current_data')), 0)",
};

const char *pg_statement_text(enum pg_statement statement)
{
	return texts[statement];
}
