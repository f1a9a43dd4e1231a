/* json_file.h: a JSON document of a folder of vectors. */
#ifndef TESTS_VECTORS_JSON_FILE_H
#define TESTS_VECTORS_JSON_FILE_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* A file that cannot be read ends the program with 2. */
static inline json_t *load_file(const char *folder, const char *name)
{
	char path[4096];
	json_error_t e;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	json_t *out = json_load_file(path, 0, &e);
	if (!out) {
		printf("%s: %s\n", path, e.text);
		exit(2);
	}
	return out;
}

#endif
