/* reload.c: see reload.h. */
#include "cli/reload.h"

#include <stdlib.h>

#include "cli/sync_config.h"
#include "storage/preview.h"

/* Names of the definitions of one kind, as far as a log line takes them. */
static struct slice names_of(const struct plan_preview *p, enum change_kind kind, struct buf *out)
{
	size_t named = 0;
	buf_clear(out);
	for (size_t i = 0; i < p->count; i++) {
		if (p->changes[i].kind != kind)
			continue;
		if (named++ == 20) {
			buf_lit(out, ", ...");
			break;
		}
		buf_printf(out, "%s%.*s", named > 1 ? ", " : " (", SLICE_ARG(p->changes[i].definition->name));
	}
	if (named)
		buf_putc(out, ')');
	return buf_slice(out);
}

static void log_difference(struct service *s, const struct plan *plan)
{
	struct plan_preview p;
	struct buf added = {0}, removed = {0};
	storage_preview(s->storage, plan, &p);
	names_of(&p, CHANGE_NEW, &added);
	names_of(&p, CHANGE_REMOVED, &removed);
	if (!p.unchanged)
		log_info(&s->log,
		         "The sync config has changed: %zu definitions kept, %zu taken up again, %zu new%.*s, %zu removed%.*s",
		         p.counts[CHANGE_KEPT], p.counts[CHANGE_REUSABLE], p.counts[CHANGE_NEW], SLICE_ARG(buf_slice(&added)),
		         p.counts[CHANGE_REMOVED], SLICE_ARG(buf_slice(&removed)));
	buf_free(&added);
	buf_free(&removed);
	plan_preview_free(&p);
}

static void refuse(struct service *s, const char *what, const char *why)
{
	struct error err;
	error_set(&err, "", "%s%s%s", what, *why ? ": " : "", why);
	log_error(&s->log, "%s. What runs goes on", err.message);
	service_config_problem(s, err.message);
}

/* A new plan, or NULL with the reason told. */
static struct plan *read_plan(struct service *s, const struct config *config)
{
	struct error err = {.code = ""};
	char *text = sync_config_read(config, &err);
	s->configured = text || err.message[0];
	if (!s->configured) {
		log_info(&s->log, "The configuration names no sync config: it is deployed over HTTP");
		service_config_problem(s, "");
	} else if (!text) {
		refuse(s, "The sync config cannot be read again", err.message);
	}
	if (!text)
		return NULL;
	struct plan *plan = sync_config_compile(text, sync_config_name(config), &s->log);
	free(text);
	if (!plan)
		refuse(s, "The sync config is not usable", "the log has its faults");
	return plan;
}

static void reload(struct service *s, const struct config *config)
{
	struct error err = {.code = ""};
	if (!config_same_but_sync_config(s->config, config))
		log_warn(&s->log,
		         "More than the sync config has changed in the configuration: the rest takes effect with a restart");
	struct plan *plan = read_plan(s, config);
	if (!plan)
		return;
	service_config_problem(s, "");
	log_difference(s, plan);
	if (!service_deploy(s, plan, &err))
		refuse(s, "The sync config cannot be deployed", err.message);
	plan_unref(plan);
}

void service_reload(struct service *s, const struct config_arguments *arguments)
{
	struct error err = {.code = ""};
	struct config_arguments again = *arguments;
	again.keep_environment = true; /* other threads read it */
	log_info(&s->log, "SIGHUP: the sync config is read again");
	struct config *config = config_load(&again, &err);
	if (config)
		reload(s, config);
	else
		refuse(s, "The configuration cannot be read again", err.message);
	config_free(config);
}
