/* sync_config.c: see sync_config.h. */
#include "cli/sync_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"

#define MAX_SYNC_CONFIG (16u * 1024 * 1024)

static char *read_file(const char *path, struct error *err)
{
	struct buf text = {0};
	FILE *f = fopen(path, "rb");
	if (!f) {
		error_set(err, "", "Cannot read the sync config %s: %s", path, strerror(errno));
		return NULL;
	}
	size_t n;
	while ((n = fread(buf_reserve(&text, 65536), 1, 65536, f)) > 0 && text.n <= MAX_SYNC_CONFIG)
		text.n += n;
	bool failed = ferror(f) != 0;
	fclose(f);
	if (failed || text.n > MAX_SYNC_CONFIG) {
		error_set(err, "", "Cannot read the sync config %s: %s", path, failed ? strerror(errno) : "it is larger than 16 MiB");
		buf_free(&text);
		return NULL;
	}
	buf_putc(&text, '\0');
	return text.p;
}

char *sync_config_read(const struct config *config, struct error *err)
{
	err->message[0] = '\0';
	if (config->sync_config.text.p)
		return xstrdup(config->sync_config.text);
	return config->sync_config.path ? read_file(config->sync_config.path, err) : NULL;
}

const char *sync_config_name(const struct config *config)
{
	return config->sync_config.text.p || !config->sync_config.path ? "sync config" : config->sync_config.path;
}

struct plan *sync_config_compile(const char *text, const char *name, const struct log *log)
{
	struct diagnostics d = {0};
	struct plan *plan = plan_compile(slice_cstr(text), SLICE("public"), &d);
	for (size_t i = 0; i < d.count; i++) {
		const struct diagnostic *item = &d.items[i];
		log_line(log, item->level == DIAGNOSTIC_FATAL ? LOG_ERROR : LOG_WARN, "%s:%zu:%zu: %.*s [%s]", name, item->line, item->column,
		         SLICE_ARG(item->message), item->class_name);
	}
	diagnostics_free(&d);
	return plan;
}
