/* config_document.c: any bytes as a configuration: read, checked, resolved, printed. */
#include <stdlib.h>

#include "base/base64.h"
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_as(slice_make(data, size), node_from_yaml);
	read_as(slice_make(data, size), node_from_json);

	/* The whole way goes through base64, the one source that needs no file. */
	struct buf text = {0};
	base64_encode(&text, data, size, BASE64_PLAIN);
	buf_putc(&text, '\0');
	struct config_arguments arguments = {.config_base64 = text.p, .working_directory = "/nonexistent"};
	struct error err;
	struct config *c = config_load(&arguments, &err);
	for (int json = 0; c && json < 2; json++) {
		struct buf out = {0};
		config_print(c, json, &out);
		buf_free(&out);
	}
	config_free(c);
	buf_free(&text);
	return 0;
}
