/* sync_config.c: see sync_config.h. */
#include "cli/sync_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "source/inspect.h"

#define MAX_SYNC_CONFIG (16u * 1024 * 1024)

char *sync_config_read_file(const char *path, struct error *err)
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
		error_set(err, "", "Cannot read the sync config %s: %s", path,
		          failed ? strerror(errno) : "it is larger than 16 MiB");
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
	return config->sync_config.path ? sync_config_read_file(config->sync_config.path, err) : NULL;
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
		log_line(log, item->level == DIAGNOSTIC_FATAL ? LOG_ERROR : LOG_WARN, "%s:%zu:%zu: %.*s [%s]", name, item->line,
		         item->column, SLICE_ARG(item->message), item->class_name);
	}
	diagnostics_free(&d);
	return plan;
}

bool sync_config_known_tables(struct source_connection *c, const char *tag, struct arena *arena, struct known_table **out,
                              size_t *count, struct error *err)
{
	struct schema_table *tables;
	if (!source_schema(c, arena, &tables, count, err))
		return false;
	*out = arena_array(arena, struct known_table, *count + 1);
	for (size_t i = 0; i < *count; i++) {
		struct slice *names = arena_array(arena, struct slice, tables[i].column_count + 1);
		for (size_t j = 0; j < tables[i].column_count; j++)
			names[j] = tables[i].columns[j].name;
		(*out)[i] =
		        (struct known_table){slice_cstr(tag), tables[i].schema, tables[i].name, names, tables[i].column_count};
	}
	return true;
}
