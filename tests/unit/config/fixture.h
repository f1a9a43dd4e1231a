/* fixture.h: a configuration file in a folder of its own. */
#ifndef SYNCLINE_TESTS_CONFIG_FIXTURE_H
#define SYNCLINE_TESTS_CONFIG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/load.h"

struct fixture {
	char directory[64];
	struct error err;
};

static inline void fixture_write(struct fixture *x, const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", x->directory, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static inline void fixture_start(struct fixture *x)
{
	*x = (struct fixture){.directory = "/tmp/config-test-XXXXXX", .err = {.code = ""}};
	assert_non_null(mkdtemp(x->directory));
}

static inline void fixture_end(struct fixture *x)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -r '%s'", x->directory);
	assert_int_equal(system(command), 0);
}

/* Loads name from the folder, which is the working directory. */
static inline struct config *fixture_load(struct fixture *x, const char *name)
{
	struct config_arguments arguments = {.config_path = name, .working_directory = x->directory};
	return config_load(&arguments, &x->err);
}

/* The text as c.yaml must load. */
static inline struct config *load_text(struct fixture *x, const char *text)
{
	fixture_start(x);
	fixture_write(x, "c.yaml", text);
	struct config *c = fixture_load(x, "c.yaml");
	if (!c)
		print_message("%s\n", x->err.message);
	assert_non_null(c);
	return c;
}

static inline void unload(struct fixture *x, struct config *c)
{
	config_free(c);
	fixture_end(x);
}

/* The text as c.yaml must be refused with a message that holds all of the parts (NULL ends them). */
static inline void refuse_text(const char *text, const char *const *parts)
{
	struct fixture x;
	fixture_start(&x);
	fixture_write(&x, "c.yaml", text);
	struct config *c = fixture_load(&x, "c.yaml");
	assert_null(c);
	for (; *parts; parts++)
		if (!strstr(x.err.message, *parts))
			fail_msg("\"%s\" is not in: %s", *parts, x.err.message);
	fixture_end(&x);
}

#define refused(text, ...) refuse_text((text), (const char *const[]){__VA_ARGS__, NULL})

static inline bool warned(const struct config *c, const char *part)
{
	for (size_t i = 0; i < c->warning_count; i++)
		if (strstr(c->warnings[i].message, part))
			return true;
	return false;
}

#endif
