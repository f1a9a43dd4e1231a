/* inspect.c: what is wrong with a table, told with the statement that helps. */
#include "source/inspect.h"

static const char *identity_name(char identity)
{
	return identity == 'd' ? "default" : identity == 'f' ? "full" : identity == 'i' ? "index" : "nothing";
}

/* "s"."t" */
static struct slice quoted(const struct inspected_table *t, struct arena *arena)
{
	return arena_printf(arena, "\"%.*s\".\"%.*s\"", SLICE_ARG(t->schema), SLICE_ARG(t->name));
}

size_t inspected_table_problems(const struct inspected_table *t, struct slice user, struct arena *arena,
                                struct table_problem out[MAX_TABLE_PROBLEMS])
{
	size_t n = 0;
	struct slice name = quoted(t, arena);
	if (!t->key_count && t->replica_identity != 'n')
		out[n++] = (struct table_problem){
		        true, arena_printf(arena, "No replication id found for %.*s. Replica identity: %s.%s", SLICE_ARG(name),
		                           identity_name(t->replica_identity),
		                           t->replica_identity == 'd' ? " Configure a primary key on the table." : "")};
	if (!t->published)
		out[n++] = (struct table_problem){true, arena_printf(arena,
		                                                     "Table %.*s is not part of publication '" SOURCE_PUBLICATION
		                                                     "'. Run: `ALTER PUBLICATION " SOURCE_PUBLICATION
		                                                     " ADD TABLE %.*s`.",
		                                                     SLICE_ARG(name), SLICE_ARG(name))};
	if (!t->readable)
		out[n++] = (struct table_problem){
		        true, arena_printf(arena, "permission denied for table %.*s. Run: `GRANT SELECT ON %.*s TO \"%.*s\"`.",
		                           SLICE_ARG(t->name), SLICE_ARG(name), SLICE_ARG(user))};
	if (t->row_security)
		out[n++] = (struct table_problem){false, arena_printf(arena,
		                                                      "[PSYNC_S1145] Row Level Security is enabled on table "
		                                                      "\"%.*s\". To make sure that %.*s can read the "
		                                                      "table, run: 'ALTER ROLE %.*s BYPASSRLS'.",
		                                                      SLICE_ARG(t->name), SLICE_ARG(user), SLICE_ARG(user))};
	return n;
}

struct slice source_pattern_missing(const struct source_pattern *p, struct arena *arena)
{
	return arena_printf(arena, "Table \"%.*s%s\".\"%.*s%s\" not found.", SLICE_ARG(p->schema), p->schema_wildcard ? "%" : "",
	                    SLICE_ARG(p->table), p->table_wildcard ? "%" : "");
}
