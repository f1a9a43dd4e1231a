/*
 * Configurations in the manner of common set-ups (tests/data/configurations) load with the expected meaning: what `config show` prints,
 * the secrets that it masks, and the warnings.
 */
#include "fixture.h"

#include <dirent.h>
#include <jansson.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/buf.h"

#define FOLDER TEST_DATA "/configurations"

static char *read_file(const char *folder, const char *name)
{
	char path[512];
	struct buf text = {0};
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	size_t n;
	while ((n = fread(buf_reserve(&text, 4096), 1, 4096, f)) > 0)
		text.n += n;
	fclose(f);
	buf_putc(&text, '\0');
	return text.p;
}

/* "\n" is a line break, "{base64 FILE}" the contents of a file. */
static void set_variable(const char *folder, const char *name, const char *text)
{
	struct buf value = {0};
	char file[100];
	if (sscanf(text, "{base64 %99[^}]}", file) == 1) {
		char *contents = read_file(folder, file);
		assert_non_null(contents);
		base64_encode(&value, contents, strlen(contents), BASE64_PLAIN);
		free(contents);
	} else {
		for (; *text; text++) {
			bool line_break = text[0] == '\\' && text[1] == 'n';
			buf_putc(&value, line_break ? '\n' : *text);
			text += line_break;
		}
	}
	buf_putc(&value, '\0');
	setenv(name, value.p, 1);
	buf_free(&value);
}

/* Sets the variables of the file `environment`, or takes them away again. */
static void apply_environment(const char *folder, bool set)
{
	char *text = read_file(folder, "environment"), *rest = NULL;
	for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
		char *equals = strchr(line, '=');
		assert_non_null(equals);
		*equals = '\0';
		if (set)
			set_variable(folder, line, equals + 1);
		else
			unsetenv(line);
	}
	free(text);
}

static void set_text(json_t *o, const char *name, const char *text)
{
	if (text && *text)
		json_object_set_new(o, name, json_string(text));
}

static json_t *texts(const struct config_string_list *list)
{
	json_t *out = json_array();
	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(out, json_string(list->items[i]));
	return out;
}

/* What is masked or only measured in the printed form. */
static json_t *secrets_of(const struct config *c)
{
	json_t *s = json_object(), *keys = json_array();
	set_text(s, "source.password", c->source.password);
	set_text(s, "source.cacert", c->source.cacert);
	set_text(s, "source.client_certificate", c->source.client_certificate);
	set_text(s, "source.client_private_key", c->source.client_private_key);
	set_text(s, "storage.password",
	         c->storage.postgres.password ? c->storage.postgres.password : c->storage.mongodb.password);
	set_text(s, "storage.cacert", c->storage.postgres.cacert);
	set_text(s, "supabase_jwt_secret", c->client_auth.supabase_jwt_secret);
	set_text(s, "supabase_jwks_uri", c->client_auth.supabase_jwks_uri);
	if (c->sync_config.text.p)
		json_object_set_new(s, "sync_config", json_stringn(c->sync_config.text.p, c->sync_config.text.n));
	for (size_t i = 0; i < c->client_auth.static_key_count; i++)
		json_array_append_new(keys,
		                      json_loadb(c->client_auth.static_keys[i].p, c->client_auth.static_keys[i].n, 0, NULL));
	json_object_set_new(s, "keys", keys);
	json_object_set_new(s, "api.tokens", texts(&c->api.tokens));
	return s;
}

/* The folder of the checkout is not part of the meaning. */
static void append_without_folder(struct buf *out, const char *text)
{
	for (const char *at; (at = strstr(text, FOLDER)); text = at + strlen(FOLDER)) {
		buf_append(out, text, (size_t)(at - text));
		buf_lit(out, "FOLDER");
	}
	buf_append(out, text, strlen(text) + 1);
}

static json_t *meaning_of(const struct config *c)
{
	struct buf shown = {0}, tidy = {0};
	json_error_t e;
	json_t *warnings = json_array();
	config_print(c, true, &shown);
	buf_putc(&shown, '\0');
	append_without_folder(&tidy, shown.p);
	json_t *configuration = json_loads(tidy.p, 0, &e);
	if (!configuration)
		fail_msg("%s in %s", e.text, tidy.p);
	for (size_t i = 0; i < c->warning_count; i++)
		json_array_append_new(warnings, json_string(c->warnings[i].message));
	buf_free(&shown);
	buf_free(&tidy);
	return json_pack("{s:o,s:o,s:o}", "configuration", configuration, "secrets", secrets_of(c), "warnings", warnings);
}

static void check_one(const char *name)
{
	char folder[512];
	struct stat st;
	struct error err = {.code = ""};
	snprintf(folder, sizeof(folder), FOLDER "/%s", name);
	char *expected_text = read_file(folder, "expected.json"), json_file[600];
	json_t *expected = expected_text ? json_loads(expected_text, 0, NULL) : NULL;
	free(expected_text);
	snprintf(json_file, sizeof(json_file), "%s/powersync.json", folder);
	apply_environment(folder, true);
	struct config_arguments arguments = {.working_directory = folder};
	if (!getenv("POWERSYNC_CONFIG_B64"))
		arguments.config_path = stat(json_file, &st) == 0 ? "powersync.json" : "powersync.yaml";
	struct config *c = config_load(&arguments, &err);
	if (!c)
		fail_msg("%s: %s", name, err.message);
	json_t *actual = meaning_of(c);
	config_free(c);
	apply_environment(folder, false);
	if (!expected || !json_equal(actual, expected)) {
		char *text = json_dumps(actual, JSON_INDENT(2));
		fprintf(stderr, "%s means something else:\n%s\n", name, text); /* too long for fail_msg */
		free(text);
		fail();
	}
	json_decref(actual);
	json_decref(expected);
}

static void each_has_the_expected_meaning(void **state)
{
	(void)state;
	struct dirent **names;
	int n = scandir(FOLDER, &names, NULL, alphasort), checked = 0;
	assert_true(n > 0);
	for (int i = 0; i < n; i++) {
		if (!strchr(names[i]->d_name, '.')) {
			check_one(names[i]->d_name);
			checked++;
		}
		free(names[i]);
	}
	free(names);
	assert_true(checked >= 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_has_the_expected_meaning)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
