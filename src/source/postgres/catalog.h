/*
 * catalog.h: tables as the catalogue has them now (source-postgres 4, 5).
 */
#ifndef SYNCLINE_SOURCE_POSTGRES_CATALOG_H
#define SYNCLINE_SOURCE_POSTGRES_CATALOG_H

#include "source/postgres/link.h"

/* A table with what reading it in order needs beside source_table. */
struct catalog_table {
	struct source_table table;
	bool published;
	struct slice row_filter;             /* of the publication; n == 0: none, or no details */
	const struct slice *order_operators; /* for each order-key column: its type's ">", as operator(schema.op) */
	const struct slice *up_to_operators; /* and its "<=" */
	double bytes_per_row;                /* estimate, out-of-line values included; 0 when unknown, or no details */
	struct slice signature;              /* changes when anything of this changes */
	struct slice generated;              /* names of the generated columns that are not published; n == 0: none */
};

/* The publication as one row: does it publish all four kinds of change, is it by the partition root; no row: there is none. */
PGresult *catalog_publication(struct link *l, struct error *err);

/* SQL expression over "c" (pg_class) and "n" (pg_namespace): everything that decides how the table is read and streamed, as one text. */
void catalog_signature_sql(struct buf *sql, int version);

/* Over the same: does the pattern match the table? */
void catalog_pattern_condition(struct buf *sql, const struct source_pattern *p);

/* Likewise, over "pub" (pg_publication) too: is the table published? */
void catalog_published_sql(struct buf *sql, int version);

/* The tables for which the SQL condition over c and n holds, by schema and name, without details. Waits for no lock on a table. */
bool catalog_tables(struct link *l, const char *condition, struct arena *arena, struct catalog_table **out, size_t *count,
                    struct error *err);
/* One table with the details that reading it needs. Waits so long for whoever holds it against readers, then fails. */
bool catalog_table_details(struct link *l, uint32_t oid, int lock_timeout_ms, struct arena *arena, struct catalog_table *out,
                           bool *found, struct error *err);

#endif
