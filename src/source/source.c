/* source.c: the source as an object, and how its failures are to be retried. Postgres is the only type (postgres/). */
#include "source/source.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "source/postgres/chunk_plan.h"
#include "source/postgres/conninfo.h"
#include "source/postgres/types.h"

struct source *source_new(const struct source_config *config, const struct log *log)
{
	struct source *s = xcalloc(1, sizeof(*s));
	s->config = config;
	s->log = log;
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->ca_fd = conninfo_memory_file("cacert", config->cacert);
	bool both = config->client_certificate && config->client_private_key;
	s->cert_fd = conninfo_memory_file("client_certificate", both ? config->client_certificate : NULL);
	s->key_fd = conninfo_memory_file("client_private_key", both ? config->client_private_key : NULL);
	pthread_mutex_init(&s->lock, NULL);
	return s;
}

void source_free(struct source *s)
{
	if (!s)
		return;
	int fds[] = {s->stop_fd, s->ca_fd, s->cert_fd, s->key_fd};
	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	type_catalog_free(s->builtin);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void source_on_wait(struct source *s, void (*fn)(void *ctx, const char *what), void *ctx)
{
	s->waiting = fn;
	s->waiting_ctx = ctx;
}

void source_get_traffic(const struct source *s, struct source_traffic *out)
{
	out->bytes = atomic_load_explicit(&s->bytes, memory_order_relaxed);
	out->chunks = atomic_load_explicit(&s->chunks, memory_order_relaxed);
}

void source_interrupt(struct source *s)
{
	uint64_t one = 1;
	ssize_t ignored = write(s->stop_fd, &one, sizeof(one));
	(void)ignored;
}

struct source_connection *source_connect(struct source *s, struct error *err)
{
	struct source_connection *c = xcalloc(1, sizeof(*c));
	if (!link_open(&c->link, s, LINK_ORDINARY, err)) {
		free(c);
		return NULL;
	}
	return c;
}

void source_connection_abort(struct source_connection *c)
{
	link_abort(&c->link);
}

void source_disconnect(struct source_connection *c)
{
	if (!c)
		return;
	chunk_plan_free(c->plan);
	free(c->row_values);
	link_close(&c->link);
	free(c);
}
