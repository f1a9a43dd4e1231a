/* config_document.c: any bytes as a configuration: read, checked, resolved, printed. */
#include <stdlib.h>

#include "config/load.h"
#include "config/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as(struct slice text, const struct node *(*read)(struct slice, struct arena *, struct findings *))
{
	struct arena arena = {0};
	struct findings findings = {.arena = &arena, .file = "f"};
	struct error err;
	const struct node *root = read(text, &arena, &findings);
	if (root)
		schema_check(root, config_fields, &findings);
	findings_report(&findings, &err);
	findings_free(&findings);
	arena_free(&arena);
}

/* The whole way goes through base64, the one source that needs no file. */
static char *base64(const uint8_t *data, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *out = malloc(size / 3 * 4 + 8), *p = out;
	for (size_t i = 0; i < size; i += 3) {
		unsigned v = (unsigned)data[i] << 16 | (i + 1 < size ? data[i + 1] : 0u) << 8 | (i + 2 < size ? data[i + 2] : 0u);
		for (size_t j = 0; j < 4 && j <= size - i; j++)
			*p++ = digits[v >> (18 - 6 * j) & 63];
	}
	*p = '\0';
	return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_as(slice_make(data, size), node_from_yaml);
	read_as(slice_make(data, size), node_from_json);

	char *text = base64(data, size);
	struct config_arguments arguments = {.config_base64 = text, .working_directory = "/nonexistent"};
	struct error err;
	struct config *c = config_load(&arguments, &err);
	for (int json = 0; c && json < 2; json++) {
		struct buf out = {0};
		config_print(c, json, &out);
		buf_free(&out);
	}
	config_free(c);
	free(text);
	return 0;
}
