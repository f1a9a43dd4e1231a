/* config_compile.c: the YAML of a sync config: root keys, options, and the order in which things are checked (sync-config 2, 3). */
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "rules/compile.h"

static const char *const root_keys[] = {"config", "bucket_definitions", "streams", "with", "event_definitions", NULL};
static const char *const config_keys[] = {
        "edition",
        "timestamps_iso8601",
        "versioned_bucket_ids",
        "fixed_json_extract",
        "custom_postgres_types",
        "unstable_sqlite_expression_engine",
        "timestamp_max_precision",
        "storage_version",
        NULL,
};

/* ---- maps ------------------------------------------------------------------------------------------------------------- */

struct ynode *map_get(const struct ynode *map, const char *key)
{
	for (size_t i = 0; i + 1 < map->count; i += 2)
		if (ynode_is_text(map->items[i]) && slice_eq(map->items[i]->text, slice_cstr(key)))
			return map->items[i + 1];
	return NULL;
}

void map_check_keys(struct compiler *c, const char *class_name, const struct ynode *map, const char *const *known)
{
	for (size_t i = 0; i + 1 < map->count; i += 2) {
		const struct ynode *k = map->items[i];
		bool found = false;
		for (const char *const *name = known; *name && !found; name++)
			found = ynode_is_text(k) && slice_eq(k->text, slice_cstr(*name));
		if (!found)
			diagnostic_node(c, DIAGNOSTIC_FATAL, class_name, k, "unknown key");
	}
}

/* True for a key that can be the name of something; else the fault is reported. */
static bool check_name(struct compiler *c, const struct ynode *key)
{
	if (key->kind != YNODE_SCALAR)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_scalar", key, "a name must be text");
	else if (!ynode_is_text(key))
		diagnostic_node(c, DIAGNOSTIC_FATAL, "bad_scalar_type", key, "a name must be a string: put it in quotes");
	else
		return true;
	return false;
}

/* ---- config ----------------------------------------------------------------------------------------------------------- */

static void late(struct compiler *c, const char *class_name)
{
	if (c->late_count < sizeof(c->late) / sizeof(*c->late))
		c->late[c->late_count++] = class_name;
}

static bool is_number(const struct ynode *n)
{
	return n->kind == YNODE_SCALAR && ynode_scalar_type(n) == YSCALAR_NUMBER;
}

static void bad_scalar(struct compiler *c, const struct ynode *n, const char *wanted)
{
	diagnostic_node(c, DIAGNOSTIC_FATAL, n->kind == YNODE_SCALAR ? "bad_scalar_type" : "expected_scalar", n, "must be %s",
	                wanted);
}

static void read_edition(struct compiler *c, const struct ynode *n)
{
	if (!is_number(n)) {
		bad_scalar(c, n, "a number");
		return;
	}
	double e = ynode_number(n);
	if (!(e == floor(e)) || e < 1 || e > 3)
		late(c, "schema_violation");
	c->plan->options.edition = e >= 3 ? 3 : e >= 2 ? 2 : 1;
}

/* -1 not given or wrong, else the value. */
static int read_bool(struct compiler *c, const struct ynode *config, const char *key)
{
	const struct ynode *n = map_get(config, key);
	if (!n)
		return -1;
	if (n->kind != YNODE_SCALAR || ynode_scalar_type(n) != YSCALAR_BOOL) {
		bad_scalar(c, n, "true or false");
		return -1;
	}
	return ynode_bool(n);
}

static void read_precision(struct compiler *c, const struct ynode *config)
{
	static const struct {
		const char *name;
		int digits;
	} names[] = {{"seconds", 0}, {"milliseconds", 3}, {"microseconds", 6}, {"nanoseconds", 9}};
	const struct ynode *n = map_get(config, "timestamp_max_precision");
	if (!n)
		return;
	if (!ynode_is_text(n)) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "bad_scalar_type", n, "must be text");
		return;
	}
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (slice_eq(n->text, slice_cstr(names[i].name)))
			c->plan->options.timestamp_digits = names[i].digits;
	if (c->plan->options.timestamp_digits < 0)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "bad_option_value", n,
		                "must be seconds, milliseconds, microseconds or nanoseconds");
	else if (!c->plan->options.timestamps_iso8601)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "option_conflict", config,
		                "timestamp_max_precision needs timestamps_iso8601");
}

static void read_storage_version(struct compiler *c, const struct ynode *config)
{
	const struct ynode *n = map_get(config, "storage_version");
	if (!n)
		return;
	if (!is_number(n)) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "bad_scalar_type", n, "must be a number");
		return;
	}
	double v = ynode_number(n);
	if (v != 2 && v != 3) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "bad_option_value", n, "must be 2 or 3");
		return;
	}
	c->plan->options.storage_version = (int)v;
	if (v == 3)
		diagnostic_node(c, DIAGNOSTIC_WARNING, "unstable_storage_version", n, "storage version 3 is not stable yet");
}

static void read_config(struct compiler *c, const struct ynode *n)
{
	struct plan_options *o = &c->plan->options;
	if (n->kind != YNODE_MAP) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_map", n, "config must be a map");
		return;
	}
	const struct ynode *edition = map_get(n, "edition");
	if (edition)
		read_edition(c, edition);
	struct {
		const char *key;
		bool *option;
	} bools[] = {
	        {"timestamps_iso8601", &o->timestamps_iso8601},
	        {"versioned_bucket_ids", &o->versioned_bucket_ids},
	        {"fixed_json_extract", &o->fixed_json_extract},
	        {"custom_postgres_types", &o->custom_postgres_types},
	};
	for (size_t i = 0; i < sizeof(bools) / sizeof(*bools); i++) {
		int v = read_bool(c, n, bools[i].key);
		*bools[i].option = v < 0 ? o->edition >= 2 : v;
	}
	if (read_bool(c, n, "unstable_sqlite_expression_engine") == 1) {
		if (o->edition < 3 || !o->fixed_json_extract)
			diagnostic_node(c, DIAGNOSTIC_FATAL, "edition_mismatch", n,
			                "unstable_sqlite_expression_engine needs edition 3");
		else
			diagnostic_node(c, DIAGNOSTIC_FATAL, "bad_option_value", n,
			                "unstable_sqlite_expression_engine is not supported");
	}
	read_precision(c, n);
	read_storage_version(c, n);
	map_check_keys(c, "unknown_key", n, config_keys);
}

static void default_options(struct plan_options *o)
{
	*o = (struct plan_options){.edition = 1, .timestamp_digits = -1};
}

/* ---- definitions ------------------------------------------------------------------------------------------------------ */

/* Reads each entry of a map of named things; names shares one name space over the maps. */
struct name_set {
	struct slice *items;
	size_t count, cap;
};

static bool claim_name(struct compiler *c, struct name_set *names, const struct ynode *key)
{
	for (size_t i = 0; i < names->count; i++)
		if (slice_eq(names->items[i], key->text)) {
			diagnostic_node(c, DIAGNOSTIC_FATAL, "duplicate_definition", key, "the name is used twice");
			return false;
		}
	names->items = xgrow(names->items, names->count, &names->cap, sizeof(*names->items));
	names->items[names->count++] = key->text;
	return true;
}

static void read_bucket_definitions(struct compiler *c, struct ynode *map, struct name_set *names)
{
	for (size_t i = 0; i + 1 < map->count; i += 2)
		if (check_name(c, map->items[i]) && claim_name(c, names, map->items[i]))
			compile_bucket_definition(c, map->items[i]->text, map->items[i + 1]);
}

/* Editions 1 and 2. */
static void read_old_streams(struct compiler *c, struct ynode *map, struct name_set *names)
{
	diagnostic_node(c, DIAGNOSTIC_WARNING, "alpha_streams", map, "streams of editions 1 and 2 are outdated: use edition 3");
	for (size_t i = 0; i + 1 < map->count; i += 2) {
		struct ynode *key = map->items[i], *stream = map->items[i + 1];
		if (!check_name(c, key) || !claim_name(c, names, key))
			continue;
		if (c->plan->options.edition == 2) {
			compile_stream_edition_2(c, key->text, key, stream);
			continue;
		}
		struct ynode *query = stream->kind == YNODE_MAP ? map_get(stream, "query") : NULL;
		if (query)
			diagnostic_add(c, DIAGNOSTIC_FATAL, "edition_mismatch", query->start, query->value_end,
			               "streams need edition 2");
		else
			diagnostic_node(c, DIAGNOSTIC_FATAL, "edition_mismatch", stream, "streams need edition 2");
	}
}

static bool is_map(const struct ynode *n)
{
	return n && n->kind == YNODE_MAP;
}

static void read_definitions(struct compiler *c, const struct ynode *root)
{
	struct ynode *buckets = map_get(root, "bucket_definitions"), *streams = map_get(root, "streams"),
	             *with = map_get(root, "with");
	struct ynode *maps[] = {buckets, streams};
	for (size_t i = 0; i < 2; i++)
		if (maps[i] && !is_map(maps[i]))
			diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_map", maps[i], "must be a map");
	if (c->plan->options.edition >= 3) {
		if (is_map(buckets))
			diagnostic_node(c, DIAGNOSTIC_FATAL, "edition_mismatch", buckets, "edition 3 has no bucket definitions");
		if (is_map(streams))
			compile_streams(c, streams, with);
		else
			diagnostic_add_raw(c, DIAGNOSTIC_FATAL, "no_definitions", 0, 10, "streams must be given");
		return;
	}
	if (with)
		diagnostic_node(c, DIAGNOSTIC_FATAL, "edition_mismatch", with, "\"with\" needs edition 3");
	if (!is_map(buckets) && !is_map(streams))
		diagnostic_add_raw(c, DIAGNOSTIC_FATAL, "no_definitions", 0, 10, "bucket_definitions or streams must be given");
	struct name_set names = {0};
	if (is_map(buckets))
		read_bucket_definitions(c, buckets, &names);
	if (is_map(streams))
		read_old_streams(c, streams, &names);
	free(names.items);
}

static void read_events(struct compiler *c, struct ynode *n)
{
	static const char *const event_keys[] = {"payloads", NULL};
	if (n->kind != YNODE_MAP) {
		diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_map", n, "event_definitions must be a map");
		return;
	}
	for (size_t i = 0; i + 1 < n->count; i += 2) {
		struct ynode *event = n->items[i + 1];
		if (!check_name(c, n->items[i]))
			continue;
		if (event->kind != YNODE_MAP) {
			diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_map", event, "an event must be a map");
			continue;
		}
		struct ynode *payloads = map_get(event, "payloads");
		if (!payloads)
			late(c, "missing_key");
		else if (payloads->kind != YNODE_LIST)
			diagnostic_node(c, DIAGNOSTIC_FATAL, "expected_sequence", payloads, "payloads must be a list");
		else
			compile_event(c, n->items[i]->text, payloads);
		map_check_keys(c, "unknown_key", event, event_keys);
	}
}

static void read_root(struct compiler *c, const struct ynode *root)
{
	struct ynode *config = map_get(root, "config"), *events = map_get(root, "event_definitions");
	if (config)
		read_config(c, config);
	read_definitions(c, root);
	if (events)
		read_events(c, events);
	map_check_keys(c, "unknown_key", root, root_keys);
	if (c->d->fatal)
		return;
	for (size_t i = 0; i < c->late_count; i++)
		diagnostic_add_raw(c, DIAGNOSTIC_FATAL, c->late[i], 0, 10,
		                   c->late[i][0] == 'm' ? "an event needs payloads" : "edition must be 1, 2 or 3");
}

struct plan *plan_compile_known(struct slice yaml, struct slice default_schema, const struct known_table *known,
                                size_t known_count, struct diagnostics *d)
{
	*d = (struct diagnostics){0};
	struct plan *plan = xcalloc(1, sizeof(*plan));
	atomic_init(&plan->references, 1);
	default_options(&plan->options);
	/* One byte more, so that positions at the end stay inside. */
	plan->text = arena_copy(&plan->arena, yaml);
	struct compiler c = {.plan = plan, .arena = &plan->arena, .d = d, .known = known, .known_count = known_count};
	c.schema_known = known != NULL;
	c.default_schema = arena_copy(&plan->arena, default_schema);
	ydoc_read(&c.doc, plan->text, &c.scratch);
	const struct ynode *root = c.doc.root;
	if (c.doc.failed)
		diagnostic_add(&c, DIAGNOSTIC_FATAL, "yaml_syntax", c.doc.problem_start, c.doc.problem_end, "%s", c.doc.problem);
	else if (!root || root->kind != YNODE_MAP)
		diagnostic_add(&c, DIAGNOSTIC_FATAL, "root_not_map", root ? root->start : 0, root ? root->end : 0,
		               "the sync config must be a map");
	else
		read_root(&c, root);
	arena_free(&c.scratch);
	d->fatal |= c.too_many_definitions;
	if (d->fatal) {
		plan_unref(plan);
		return NULL;
	}
	return plan;
}

struct plan *plan_compile(struct slice yaml, struct slice default_schema, struct diagnostics *d)
{
	return plan_compile_known(yaml, default_schema, NULL, 0, d);
}
