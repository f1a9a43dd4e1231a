/* catalog.c: discovery of tables (source-postgres 4). */
#include "source/postgres/catalog.h"

#include <stdlib.h>

#include "base/alloc.h"

/* ---- the query ------------------------------------------------------------------------------------------------------------ */

/* How the publication has the table. A row of its catalogues that was written anew has another oid or xmin. */
static void publication_sql(struct buf *sql, int version)
{
	buf_lit(sql, "(SELECT pg_catalog.concat_ws(':', sp.oid, sp.xmin, sp.puballtables, (SELECT"
	             " pg_catalog.string_agg(pg_catalog.concat_ws(':', pr.oid, pr.prrelid");
	if (version >= 150000)
		buf_lit(sql, ", pr.prattrs, pg_catalog.md5(pr.prqual::text)");
	buf_lit(sql, "), ',' ORDER BY pr.oid) FROM pg_catalog.pg_publication_rel pr WHERE pr.prpubid = sp.oid AND (pr.prrelid = "
	             "c.oid");
	if (version >= 120000)
		buf_lit(sql, " OR c.relispartition AND pr.prrelid IN (SELECT relid FROM pg_catalog.pg_partition_ancestors(c.oid) "
		             "relid)");
	buf_lit(sql, "))");
	if (version >= 150000)
		buf_lit(sql, ", (SELECT pg_catalog.string_agg(pn.oid::pg_catalog.text, ',' ORDER BY pn.oid) FROM"
		             " pg_catalog.pg_publication_namespace pn WHERE pn.pnpubid = sp.oid AND pn.pnnspid = n.oid)");
	buf_lit(sql, ") FROM pg_catalog.pg_publication sp WHERE sp.pubname = '" PUBLICATION "')");
}

/*
 * What pg_publication_tables tells of c, from the publication's own catalogues: the view expands the whole publication, which is too
 * much for every chunk of a database with many tables, and from 16 on it locks each table of it, so one that somebody holds would
 * hold up all others. Leaves are published with an ancestor, but its column list and filter are not theirs without
 * publish_via_partition_root; nor are those of an own entry beside the schema's.
 */
static void ancestors_sql(struct buf *sql, int version, const char *what)
{
	if (version >= 120000)
		buf_printf(sql,
		           " OR c.relispartition AND %s IN (SELECT ac.%s FROM pg_catalog.pg_partition_ancestors(c.oid) pa(relid)"
		           " JOIN pg_catalog.pg_class ac ON ac.oid = pa.relid)",
		           what, strcmp(what, "mr.prrelid") == 0 ? "oid" : "relnamespace");
}

void catalog_published_sql(struct buf *sql, int version)
{
	buf_lit(sql, "(c.relpersistence = 'p' AND c.oid >= 16384 AND (pub.puballtables OR EXISTS (SELECT FROM "
	             "pg_catalog.pg_publication_rel mr WHERE mr.prpubid = pub.oid AND (mr.prrelid = c.oid");
	ancestors_sql(sql, version, "mr.prrelid");
	buf_lit(sql, "))");
	if (version >= 150000) {
		buf_lit(sql, " OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace mn WHERE mn.pnpubid = pub.oid AND "
		             "(mn.pnnspid = c.relnamespace");
		ancestors_sql(sql, version, "mn.pnnspid");
		buf_lit(sql, "))");
	}
	buf_lit(sql, "))");
}

/* One row "p" if the table is published: its column list and row filter, null where there is none. */
static void publication_join_sql(struct buf *sql, int version)
{
	buf_lit(sql, " LEFT JOIN LATERAL (SELECT pub.oid");
	if (version >= 150000)
		buf_lit(sql, ", own.prattrs::pg_catalog.int2[] AS list, own.prqual AS filter");
	if (version >= 180000)
		buf_lit(sql, ", pub.pubgencols = 's' AS stored");
	buf_lit(sql, " FROM pg_catalog.pg_publication pub");
	if (version >= 150000)
		buf_lit(sql,
		        " LEFT JOIN pg_catalog.pg_publication_rel own ON own.prpubid = pub.oid AND own.prrelid = c.oid"
		        " AND NOT pub.puballtables AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_namespace on_ WHERE "
		        "on_.pnpubid = pub.oid AND on_.pnnspid = c.relnamespace)");
	buf_lit(sql, " WHERE pub.pubname = '" PUBLICATION "' AND ");
	catalog_published_sql(sql, version);
	buf_lit(sql, ") p ON true");
}

PGresult *catalog_publication(struct link *l, struct error *err)
{
	return link_query(l,
	                  l->version >= 130000 ? "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, pubviaroot FROM "
	                                         "pg_catalog.pg_publication WHERE pubname = '" PUBLICATION "'"
	                                       : "SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate, false FROM "
	                                         "pg_catalog.pg_publication WHERE pubname = '" PUBLICATION "'",
	                  SHORT_TIMEOUT_MS, err);
}

void catalog_signature_sql(struct buf *sql, int version)
{
	buf_lit(sql, "pg_catalog.concat_ws('|', c.oid, c.relfilenode, c.relreplident, n.nspname, c.relname,"
	             " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', sa.attnum, sa.atttypid, sa.atttypmod, sa.attname");
	if (version >= 120000)
		buf_lit(sql, ", sa.attgenerated");
	buf_lit(sql, "), ',' ORDER BY sa.attnum) FROM pg_catalog.pg_attribute sa WHERE sa.attrelid = c.oid AND sa.attnum > 0"
	             " AND NOT sa.attisdropped),"
	             " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', si.indexrelid, si.indkey, si.indisprimary, "
	             "si.indisreplident), ','"
	             " ORDER BY si.indexrelid) FROM pg_catalog.pg_index si WHERE si.indrelid = c.oid AND si.indisunique AND "
	             "si.indisvalid),"
	             " ");
	publication_sql(sql, version);
	buf_lit(sql, ")");
}

enum field {
	F_OID,
	F_SCHEMA,
	F_NAME,
	F_IDENTITY,
	F_FILENODE,
	F_ROWS,
	F_ROW_SECURITY,
	F_PUBLISHED,
	F_FILTER,
	F_ROW_BYTES,
	F_SIGNATURE,
	F_PUBLISHED_AS,
	F_GENERATED,
	F_ATTNUM,
	F_ATTNAME,
	F_TYPE,
	F_TYPMOD,
	F_IN_KEY,
	F_ORDER,
	F_ORDER_OPERATOR,
	F_UP_TO_OPERATOR,
	F_SHAPE,
};

/*
 * Replica identity as the server decides it for pgoutput: the primary key or the chosen index, if it is immediate and valid; key
 * columns without the INCLUDEd ones. One row a published column, in attnum order; a table without any gives one with nulls.
 */
static const char columns_sql[] =
        ", a.attnum, a.attname, a.atttypid, a.atttypmod, c.relreplident = 'f' OR COALESCE(a.attnum = ANY (ident.keys), false),"
        " pg_catalog.array_position(ord.keys, a.attnum), oper.name, oper.up_to, %s"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace%s"
        " LEFT JOIN LATERAL (SELECT (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1] AS keys FROM pg_catalog.pg_index i"
        "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL"
        "  AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END LIMIT 1) ident ON "
        "true"
        /* The key to read by: complete, not null, published, in the default order of its types. */
        " LEFT JOIN LATERAL (SELECT (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1] AS keys,"
        "  (i.indclass::pg_catalog.oid[])[0:i.indnkeyatts - 1] AS classes FROM pg_catalog.pg_index i"
        "  JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid JOIN pg_catalog.pg_am am ON am.oid = ic.relam AND am.amname = "
        "'btree'"
        "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs "
        "IS NULL"
        "  AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest((i.indclass::pg_catalog.oid[])[0:i.indnkeyatts - 1]) cl"
        "   JOIN pg_catalog.pg_opclass oc ON oc.oid = cl WHERE NOT oc.opcdefault)"
        "  AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]) ka"
        "   WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_attribute x WHERE x.attrelid = c.oid AND x.attnum = ka AND "
        "x.attnotnull AND %s))"
        "  ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, i.indexrelid LIMIT 1) ord ON true"
        " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND %s"
        " LEFT JOIN LATERAL (SELECT pg_catalog.format('OPERATOR(%%I.%%s)', opn.nspname, op.oprname) AS name,"
        "  pg_catalog.format('OPERATOR(%%I.%%s)', upn.nspname, up.oprname) AS up_to"
        "  FROM pg_catalog.pg_opclass oc JOIN pg_catalog.pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = "
        "oc.opcintype"
        "   AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 5 JOIN pg_catalog.pg_operator op ON op.oid = ao.amopopr"
        "  JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace"
        "  JOIN pg_catalog.pg_amop au ON au.amopfamily = oc.opcfamily AND au.amoplefttype = oc.opcintype"
        "   AND au.amoprighttype = oc.opcintype AND au.amopstrategy = 2 JOIN pg_catalog.pg_operator up ON up.oid = au.amopopr"
        "  JOIN pg_catalog.pg_namespace upn ON upn.oid = up.oprnamespace"
        "  WHERE oc.oid = ord.classes[pg_catalog.array_position(ord.keys, a.attnum)]) oper ON true"
        " WHERE c.relkind = 'r' AND (";

/* Whether pgoutput sends a column, for the attribute alias given: what the column list names, generated ones from 18 on only. */
static const char *published_column(int version, char alias)
{
	bool x = alias == 'x';
	if (version >= 180000)
		return x ? "CASE WHEN p.list IS NULL THEN x.attgenerated = '' OR x.attgenerated = 's' AND p.stored ELSE x.attnum "
		           "= "
		           "ANY (p.list) END"
		         : "CASE WHEN p.list IS NULL THEN a.attgenerated = '' OR a.attgenerated = 's' AND p.stored ELSE a.attnum "
		           "= "
		           "ANY (p.list) END";
	if (version >= 150000)
		return x ? "x.attgenerated = '' AND (p.list IS NULL OR x.attnum = ANY (p.list))"
		         : "a.attgenerated = '' AND (p.list IS NULL OR a.attnum = ANY (p.list))";
	if (version >= 120000)
		return x ? "x.attgenerated = ''" : "a.attgenerated = ''";
	return "true";
}

/*
 * What the column's type is made of, if it is a user's: ALTER TYPE changes labels and attributes, and so the text of values, without
 * any event. Types refer to others.
 */
static const char shape_sql[] =
        "CASE WHEN a.atttypid >= 16384 THEN (WITH RECURSIVE tree(oid) AS (SELECT a.atttypid UNION SELECT inner_type.oid FROM tree"
        " JOIN pg_catalog.pg_type t ON t.oid = tree.oid AND t.oid >= 16384 CROSS JOIN LATERAL ("
        "SELECT t.typelem AS oid WHERE t.typelem <> 0 UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0"
        " UNION ALL SELECT ra.atttypid FROM pg_catalog.pg_attribute ra WHERE t.typtype = 'c' AND ra.attrelid = t.typrelid"
        " AND ra.attnum > 0 AND NOT ra.attisdropped"
        " UNION ALL SELECT rt.rngsubtype FROM pg_catalog.pg_range rt WHERE rt.rngtypid = t.oid) inner_type)"
        " SELECT pg_catalog.string_agg(pg_catalog.concat_ws(':', t.oid,"
        " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('=', e.oid, e.enumlabel), ',' ORDER BY e.oid)"
        " FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),"
        " (SELECT pg_catalog.string_agg(pg_catalog.concat_ws('=', ra.attname, ra.atttypid, ra.atttypmod), ',' ORDER BY ra.attnum)"
        " FROM pg_catalog.pg_attribute ra WHERE t.typtype = 'c' AND ra.attrelid = t.typrelid AND ra.attnum > 0"
        " AND NOT ra.attisdropped)), ';' ORDER BY t.oid)"
        " FROM tree JOIN pg_catalog.pg_type t ON t.oid = tree.oid AND t.oid >= 16384 AND t.typtype IN ('e', 'c')) END";

/* The generated columns that the stream does not have. */
static void generated_sql(struct buf *sql, int version)
{
	if (version < 120000) {
		buf_lit(sql, "NULL");
		return;
	}
	buf_lit(sql, "(SELECT pg_catalog.string_agg(ga.attname, ', ' ORDER BY ga.attnum) FROM pg_catalog.pg_attribute ga"
	             " WHERE ga.attrelid = c.oid AND ga.attnum > 0 AND NOT ga.attisdropped AND ga.attgenerated <> ''");
	if (version >= 180000)
		buf_lit(sql, " AND NOT CASE WHEN p.list IS NULL THEN ga.attgenerated = 's' AND p.stored ELSE ga.attnum = ANY "
		             "(p.list) END");
	buf_lit(sql, ")");
}

/* What a table has once stands in its first row only: worked out for each column it takes seconds where there are more than a thousand. */
static void once_begin(struct buf *sql)
{
	buf_lit(sql, ", CASE WHEN pg_catalog.row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum) = 1 THEN ");
}

static void once_end(struct buf *sql)
{
	buf_lit(sql, " END");
}

/*
 * Without details it takes no lock on any table, so whoever holds one holds up nobody but those who read that table. The row filter's
 * text and the size on disk do take it.
 */
static void table_query(struct buf *sql, int version, const char *condition, bool details)
{
	struct buf publication = {0};
	publication_join_sql(&publication, version);
	buf_putc(&publication, '\0');
	buf_lit(sql, "SELECT c.oid, n.nspname, c.relname, c.relreplident, c.relfilenode,"
	             " CASE WHEN c.reltuples = 0 AND c.relpages = 0 THEN -1 ELSE c.reltuples END,"
	             " c.relrowsecurity AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = "
	             "current_user),"
	             " p.oid IS NOT NULL");
	once_begin(sql);
	buf_slice_append(sql, details && version >= 150000 ? SLICE("pg_catalog.pg_get_expr(p.filter, c.oid)") : SLICE("NULL"));
	once_end(sql);
	once_begin(sql);
	buf_slice_append(
	        sql, details ? SLICE("CASE WHEN c.reltuples > 0 THEN pg_catalog.pg_table_size(c.oid) / c.reltuples ELSE 0 END")
	                     : SLICE("0"));
	once_end(sql);
	once_begin(sql);
	catalog_signature_sql(sql, version);
	once_end(sql);
	once_begin(sql);
	publication_sql(sql, version);
	once_end(sql);
	once_begin(sql);
	generated_sql(sql, version);
	once_end(sql);
	buf_printf(sql, columns_sql, shape_sql, publication.p, published_column(version, 'x'), published_column(version, 'a'));
	buf_free(&publication);
	buf_printf(sql, "%s) ORDER BY n.nspname, c.relname, a.attnum", condition);
	buf_putc(sql, '\0');
}

/* ---- the answer ----------------------------------------------------------------------------------------------------------- */

static struct slice field_copy(const PGresult *r, int row, int column, struct arena *arena)
{
	return arena_copy(arena, pg_field(r, row, column));
}

/* FNV-1a; 0 for an empty text only. */
static uint64_t text_hash(struct slice text)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < text.n; i++)
		h = (h ^ (unsigned char)text.p[i]) * UINT64_C(1099511628211);
	return text.n ? h | 1 : 0;
}

static void read_columns(const PGresult *r, int first, int end, struct arena *arena, struct catalog_table *out)
{
	size_t count = 0, keys = 0;
	struct source_column *columns = arena_array(arena, struct source_column, (size_t)(end - first));
	struct slice *names = arena_array(arena, struct slice, (size_t)(end - first));
	struct slice *operators = arena_array(arena, struct slice, (size_t)(end - first));
	struct slice *up_to = arena_array(arena, struct slice, (size_t)(end - first));
	for (int row = first; row < end; row++) {
		if (PQgetisnull(r, row, F_ATTNUM))
			continue;
		int64_t typmod = -1;
		slice_parse_i64(pg_field(r, row, F_TYPMOD), &typmod);
		columns[count] = (struct source_column){.name = field_copy(r, row, F_ATTNAME, arena),
		                                        .type_oid = (uint32_t)pg_field_u64(r, row, F_TYPE),
		                                        .type_modifier = (int32_t)typmod,
		                                        .attnum = (int16_t)pg_field_u64(r, row, F_ATTNUM),
		                                        .in_key = pg_field_bool(r, row, F_IN_KEY),
		                                        .type_shape = text_hash(pg_field(r, row, F_SHAPE))};
		uint64_t place = pg_field_u64(r, row, F_ORDER); /* from 1; 0: null, not in it */
		if (place > 0 && place <= (uint64_t)(end - first)) {
			names[place - 1] = columns[count].name;
			operators[place - 1] = field_copy(r, row, F_ORDER_OPERATOR, arena);
			up_to[place - 1] = field_copy(r, row, F_UP_TO_OPERATOR, arena);
			keys++;
		}
		count++;
	}
	out->table.relation.columns = columns;
	out->table.relation.column_count = count;
	out->table.order_key = names;
	out->table.order_key_count = keys;
	out->order_operators = operators;
	out->up_to_operators = up_to;
}

static void read_table(const PGresult *r, int first, int end, struct arena *arena, struct catalog_table *out)
{
	*out = (struct catalog_table){
	        .table = {.relation = {.oid = (uint32_t)pg_field_u64(r, first, F_OID),
	                               .schema = field_copy(r, first, F_SCHEMA, arena),
	                               .name = field_copy(r, first, F_NAME, arena),
	                               .replica_identity = PQgetvalue(r, first, F_IDENTITY)[0]},
	                  .relfilenode = (uint32_t)pg_field_u64(r, first, F_FILENODE),
	                  .estimated_rows = strtod(PQgetvalue(r, first, F_ROWS), NULL),
	                  .row_security = pg_field_bool(r, first, F_ROW_SECURITY),
	                  .published_as = text_hash(pg_field(r, first, F_PUBLISHED_AS))},
	        .published = pg_field_bool(r, first, F_PUBLISHED),
	        .row_filter = field_copy(r, first, F_FILTER, arena),
	        .bytes_per_row = strtod(PQgetvalue(r, first, F_ROW_BYTES), NULL),
	        .signature = field_copy(r, first, F_SIGNATURE, arena),
	        .generated = field_copy(r, first, F_GENERATED, arena),
	};
	read_columns(r, first, end, arena, out);
}

static bool query_tables(struct link *l, const char *condition, int lock_timeout_ms, struct arena *arena,
                         struct catalog_table **out, size_t *count, struct error *err)
{
	struct buf sql = {0};
	if (lock_timeout_ms)
		buf_printf(&sql, "SET LOCAL lock_timeout = %d; ", lock_timeout_ms);
	table_query(&sql, l->version, condition, lock_timeout_ms != 0);
	PGresult *r = link_query(l, sql.p, SOCKET_TIMEOUT_MS, err);
	buf_free(&sql);
	if (!r)
		return false;
	int rows = PQntuples(r);
	size_t n = 0;
	*out = NULL;
	for (int i = 0; i < rows; i++)
		n += i == 0 || pg_field_u64(r, i, F_OID) != pg_field_u64(r, i - 1, F_OID);
	*out = arena_array(arena, struct catalog_table, n);
	*count = 0;
	for (int first = 0, end; first < rows; first = end) {
		for (end = first + 1; end < rows && pg_field_u64(r, end, F_OID) == pg_field_u64(r, first, F_OID); end++)
			;
		read_table(r, first, end, arena, &(*out)[(*count)++]);
	}
	PQclear(r);
	return true;
}

bool catalog_tables(struct link *l, const char *condition, struct arena *arena, struct catalog_table **out, size_t *count,
                    struct error *err)
{
	return query_tables(l, condition, 0, arena, out, count, err);
}

bool catalog_table_details(struct link *l, uint32_t oid, int lock_timeout_ms, struct arena *arena, struct catalog_table *out,
                           bool *found, struct error *err)
{
	char condition[32];
	snprintf(condition, sizeof(condition), "c.oid = %u", oid);
	struct catalog_table *t;
	size_t n;
	if (!query_tables(l, condition, lock_timeout_ms, arena, &t, &n, err))
		return false;
	*found = n == 1;
	if (*found)
		*out = t[0];
	return true;
}

/* ---- discovery ------------------------------------------------------------------------------------------------------------ */

/* Prefixes are compared as they are: _ and \ in them are no wildcards (source-postgres 4). */
static void name_condition(struct buf *sql, const char *column, struct slice name, bool wildcard)
{
	if (wildcard && name.n && name.p[name.n - 1] == '%')
		name.n--;
	if (wildcard)
		buf_printf(sql, "pg_catalog.starts_with(%s::pg_catalog.text, ", column);
	else
		buf_printf(sql, "%s = ", column);
	sql_literal(sql, name);
	if (wildcard)
		buf_putc(sql, ')');
}

void catalog_pattern_condition(struct buf *sql, const struct source_pattern *p)
{
	buf_putc(sql, '(');
	name_condition(sql, "n.nspname", p->schema, p->schema_wildcard);
	if (p->schema_wildcard)
		buf_lit(sql, " AND NOT pg_catalog.starts_with(n.nspname::pg_catalog.text, 'pg_') AND n.nspname <> "
		             "'information_schema'");
	buf_lit(sql, " AND ");
	name_condition(sql, "c.relname", p->table, p->table_wildcard);
	buf_putc(sql, ')');
}

static bool name_matches(struct slice pattern, bool wildcard, struct slice name)
{
	if (!wildcard)
		return slice_eq(pattern, name);
	if (pattern.n && pattern.p[pattern.n - 1] == '%')
		pattern.n--;
	return slice_starts(name, pattern);
}

/* Lines of a discovery, collected; written only if they differ from those of the one before, because discovery is repeated. */
struct notes {
	struct buf text; /* level character, line, NUL; ... */
};

static void note(struct notes *n, char level, struct slice line)
{
	buf_putc(&n->text, level);
	buf_slice_append(&n->text, line);
	buf_putc(&n->text, '\0');
}

static void notes_write(struct notes *n, struct source *s)
{
	uint64_t h = text_hash(buf_slice(&n->text));
	pthread_mutex_lock(&s->lock);
	bool same = s->discovery_logged == h;
	s->discovery_logged = h;
	pthread_mutex_unlock(&s->lock);
	for (size_t at = 0; !same && at < n->text.n; at += strlen(n->text.p + at) + 1)
		log_line(s->log, n->text.p[at] == 'w' ? LOG_WARN : LOG_INFO, "%s", n->text.p + at + 1);
	buf_free(&n->text);
}

static void note_patterns(struct notes *notes, struct arena *arena, const struct source_pattern *patterns, size_t count,
                          const struct catalog_table *tables, size_t table_count)
{
	for (size_t i = 0; i < count; i++) {
		const struct source_pattern *p = &patterns[i];
		bool found = false;
		for (size_t t = 0; t < table_count && !found; t++)
			found = name_matches(p->schema, p->schema_wildcard, tables[t].table.relation.schema) &&
			        name_matches(p->table, p->table_wildcard, tables[t].table.relation.name);
		if (!found)
			note(notes, 'w',
			     arena_printf(arena, "Table \"%.*s\".\"%.*s\" not found.", SLICE_ARG(p->schema),
			                  SLICE_ARG(p->table)));
	}
}

static void note_table(struct notes *notes, struct arena *arena, const char *role, const struct catalog_table *t)
{
	struct slice schema = t->table.relation.schema, name = t->table.relation.name;
	if (!t->published)
		note(notes, 'i',
		     arena_printf(arena, "Skipping %.*s.%.*s - not part of " PUBLICATION " publication", SLICE_ARG(schema),
		                  SLICE_ARG(name)));
	if (t->published && t->generated.n)
		note(notes, 'w',
		     arena_printf(
		             arena,
		             "Table \"%.*s\".\"%.*s\" has generated columns, which the source does not replicate and which are "
		             "therefore left out: %.*s",
		             SLICE_ARG(schema), SLICE_ARG(name), SLICE_ARG(t->generated)));
	if (t->published && t->table.row_security)
		note(notes, 'w',
		     arena_printf(arena,
		                  "[PSYNC_S1145] Row Level Security is enabled on table \"%.*s\". To make sure that %s can read "
		                  "the table, run: "
		                  "'ALTER ROLE %s BYPASSRLS'.",
		                  SLICE_ARG(name), role, role));
}

bool source_discover(struct source_connection *c, const struct source_pattern *patterns, size_t count, struct arena *arena,
                     struct source_table **tables, size_t *table_count, struct error *err)
{
	struct buf condition = {0};
	buf_lit(&condition, "false");
	for (size_t i = 0; i < count; i++) {
		buf_lit(&condition, " OR ");
		catalog_pattern_condition(&condition, &patterns[i]);
	}
	buf_putc(&condition, '\0');
	struct catalog_table *found;
	size_t n;
	bool ok = catalog_tables(&c->link, condition.p, arena, &found, &n, err);
	buf_free(&condition);
	if (!ok)
		return false;
	*tables = arena_array(arena, struct source_table, n);
	*table_count = 0;
	struct notes notes = {0};
	for (size_t i = 0; i < n; i++) {
		note_table(&notes, arena, PQuser(c->link.pg), &found[i]);
		if (found[i].published)
			(*tables)[(*table_count)++] = found[i].table;
	}
	note_patterns(&notes, arena, patterns, count, found, n);
	notes_write(&notes, c->link.source);
	return true;
}

bool source_describe(struct source_connection *c, uint32_t oid, struct arena *arena, struct source_table *out, bool *found,
                     struct error *err)
{
	char condition[32];
	snprintf(condition, sizeof(condition), "c.oid = %u", oid);
	struct catalog_table *t;
	size_t n;
	if (!catalog_tables(&c->link, condition, arena, &t, &n, err))
		return false;
	*found = n == 1 && t[0].published;
	if (*found)
		*out = t[0].table;
	return true;
}

bool source_table_exists(struct source_connection *c, uint32_t oid, struct slice schema, struct slice name, bool *exists,
                         struct error *err)
{
	char condition[32];
	struct arena arena = {0};
	struct catalog_table *t;
	size_t n;
	snprintf(condition, sizeof(condition), "c.oid = %u", oid);
	bool ok = catalog_tables(&c->link, condition, &arena, &t, &n, err);
	*exists = ok && n == 1 && slice_eq(t[0].table.relation.schema, schema) && slice_eq(t[0].table.relation.name, name);
	arena_free(&arena);
	return ok;
}
