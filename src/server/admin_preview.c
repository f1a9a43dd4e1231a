/* admin_preview.c: what a deploy would change, and what it would read (incremental-deploy 10). */
#include "server/admin.h"
#include "server/state.h"
#include "storage/preview.h"

static const char *const kind_names[] = {
        [CHANGE_KEPT] = "kept",
        [CHANGE_REUSABLE] = "reusable",
        [CHANGE_NEW] = "new",
        [CHANGE_REMOVED] = "removed",
};

static bool to_be_read(const struct definition_change *c)
{
	return c->kind == CHANGE_NEW || (c->kind == CHANGE_REUSABLE && c->filling);
}

/* The patterns of what is to be filled, each once. */
static size_t patterns_of(const struct plan_preview *p, const struct plan *plan, struct arena *arena, struct source_pattern **out)
{
	size_t count = 0, most = plan_pattern_count(plan);
	bool *used = arena_calloc(arena, sizeof(*used) * (most + 1));
	*out = arena_array(arena, struct source_pattern, most + 1);
	for (size_t i = 0; i < p->count; i++)
		for (size_t k = 0; to_be_read(&p->changes[i]) && k < p->changes[i].definition->pattern_count; k++)
			used[p->changes[i].definition->patterns[k]] = true;
	for (uint32_t i = 0; i < most; i++) {
		const struct table_pattern *t = plan_pattern(plan, i);
		if (used[i])
			(*out)[count++] = (struct source_pattern){t->schema, t->table, t->schema_wildcard, t->table_wildcard};
	}
	return count;
}

static bool add_tables(struct admin_source *a, const struct plan_preview *p, const struct plan *plan, json_t *out,
                       struct error *err)
{
	struct source_pattern *patterns;
	struct source_table *found = NULL;
	size_t count = patterns_of(p, plan, a->arena, &patterns), found_count = 0;
	if (count && !source_discover(a->connection, patterns, count, a->arena, &found, &found_count, err))
		return false;
	json_t *tables = json_array();
	for (size_t i = 0; i < found_count; i++) {
		double rows = found[i].estimated_rows;
		json_array_append_new(tables, json_pack("{s:o,s:o,s:o}", "schema", json_text(found[i].relation.schema), "name",
		                                        json_text(found[i].relation.name), "estimated_rows",
		                                        rows < 0 ? json_null() : json_integer((json_int_t)rows)));
	}
	json_object_set_new(out, "tables", tables);
	return true;
}

json_t *admin_preview(struct server *s, struct admin_source *a, struct slice text)
{
	struct diagnostics d = {0};
	struct plan_preview p;
	struct error err = {.code = ""};
	struct plan *plan = plan_compile(text, SLICE("public"), &d);
	diagnostics_free(&d);
	if (!plan || !a->connection) {
		plan_unref(plan);
		return NULL;
	}
	storage_preview(s->options.storage, plan, &p);
	json_t *out = json_pack("{s:b}", "unchanged", p.unchanged);
	for (size_t i = 0; i < sizeof(kind_names) / sizeof(*kind_names); i++)
		json_object_set_new(out, kind_names[i], json_array());
	for (size_t i = 0; i < p.count; i++)
		json_array_append_new(json_object_get(out, kind_names[p.changes[i].kind]),
		                      json_text(p.changes[i].definition->name));
	if (!add_tables(a, &p, plan, out, &err)) {
		json_decref(out);
		out = NULL;
	}
	plan_preview_free(&p);
	plan_unref(plan);
	return out;
}
