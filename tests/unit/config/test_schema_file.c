/* docs/powersync-config.schema.json knows every key that the service knows, and no others. */
#include "fixture.h"

#include <jansson.h>

#include "config/schema.h"

/* Calls found for the member tables of a field, whatever the map decides them by. */
static size_t member_tables(const struct field *f, const struct field *tables[8])
{
	static const char *const deciders[] = {"{type: postgresql}", "{type: lmdb}", "{type: mongodb}", "{kty: RSA}",
	                                       "{kty: oct}",         "{kty: OKP}",   "{kty: EC}"};
	size_t count = 0;
	if (f->members)
		tables[count++] = f->members;
	for (size_t i = 0; f->members_of && i < sizeof(deciders) / sizeof(deciders[0]); i++) {
		struct arena arena = {0};
		struct findings findings = {.arena = &arena};
		const struct field *table = f->members_of(node_from_yaml(slice_cstr(deciders[i]), &arena, &findings));
		if (table[1].name)
			tables[count++] = table;
		arena_free(&arena);
	}
	return count;
}

/* Gathers the properties of a schema and of all its alternatives. */
static void gather(json_t *schema, json_t *out)
{
	static const char *const alternatives[] = {"allOf", "anyOf", "oneOf"};
	const char *name;
	json_t *value;
	size_t j;
	json_object_foreach(json_object_get(schema, "properties"), name, value)
	{
		json_t *known = json_object_get(out, name);
		/* Of a key that several alternatives have, the one with members of its own says the most. */
		if (!known || json_object_size(value) > json_object_size(known))
			json_object_set(out, name, value);
	}
	for (size_t i = 0; i < 3; i++)
		json_array_foreach(json_object_get(schema, alternatives[i]), j, value) gather(value, out);
	if (json_object_get(schema, "then"))
		gather(json_object_get(schema, "then"), out);
	if (json_is_object(json_object_get(schema, "items")))
		gather(json_object_get(schema, "items"), out);
}

static bool is_field(const struct field *const *tables, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		for (const struct field *f = tables[i]; f->name; f++)
			if (strcmp(f->name, name) == 0)
				return true;
	return false;
}

static void compare(const struct field *const *tables, size_t count, json_t *schema, const char *path)
{
	json_t *properties = json_object(), *value;
	const char *name;
	gather(schema, properties);
	for (size_t i = 0; i < count; i++) {
		for (const struct field *f = tables[i]; f->name; f++) {
			char below[256];
			const struct field *members[8];
			json_t *property = json_object_get(properties, f->name);
			snprintf(below, sizeof(below), "%s.%s", path, f->name);
			if (!property)
				fail_msg("the schema file lacks %s", below);
			size_t n = member_tables(f, members);
			if (n && strcmp(f->name, "object_storage") != 0)
				compare(members, n, property, below);
		}
	}
	json_object_foreach(properties, name, value) if (!is_field(tables, count, name))
	        fail_msg("the schema file has %s.%s, which is no key", path, name);
	json_decref(properties);
}

static void the_schema_file_has_the_keys_of_the_tables(void **state)
{
	(void)state;
	json_error_t e;
	json_t *schema = json_load_file(TEST_DATA "/../../docs/powersync-config.schema.json", 0, &e);
	if (!schema)
		fail_msg("line %d: %s", e.line, e.text);
	const struct field *tables[] = {config_fields};
	compare(tables, 1, schema, "");
	json_decref(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(the_schema_file_has_the_keys_of_the_tables)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
