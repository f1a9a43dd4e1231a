/*
 * service.h: one running service: everything that `start` wires together, and nothing else knows of each other.
 */
#ifndef SYNCLINE_CLI_SERVICE_H
#define SYNCLINE_CLI_SERVICE_H

#include <pthread.h>

#include "auth/auth.h"
#include "base/log.h"
#include "cli/control.h"
#include "cli/wiring.h"
#include "config/config.h"
#include "jobs/compaction.h"
#include "jobs/maintenance.h"
#include "jobs/retention.h"
#include "replicate/replicate.h"
#include "server/metrics_listener.h"
#include "server/server.h"
#include "source/source.h"
#include "storage/storage.h"

struct service {
	enum config_role role; /* what this process does; anything but unified needs a shared store */
	struct config *config;
	struct log log;
	struct metrics *metrics;                   /* every layer's series */
	struct metrics_listener *metrics_listener; /* NULL: no port is configured */
	struct source_config source_config;
	struct source *source;             /* checkpoint requests */
	struct source *replication_source; /* the replicator's: interrupted when it does not stop */
	struct source *admin_source;       /* the admin routes' */
	struct storage_database database;  /* of a shared store */
	struct storage *storage;
	bool stopped_early; /* by a signal that is pending, while it waited for the store: nothing was started */
	struct key_store *keys;
	pthread_mutex_t replication_lock; /* the four below: a deploy over HTTP may be the first to set them */
	struct plan *plan;                /* the newest sync config that was to be replicated; NULL without one */
	char config_problem[512];         /* why the configured sync config is not usable; "" */
	struct replicator *replicator;
	struct server_admin admin;
	char source_uri[512];    /* for the admin routes: without user and password */
	_Atomic bool configured; /* the configuration names a sync config, as last read */
	struct server *server;
	struct probe_files *probe_files; /* NULL: not asked for */
	struct retention retention;
	struct compaction compaction;
	struct maintenance *maintenance;
	struct control *control; /* NULL: the socket cannot be made */
};

/* Starts everything that the configuration asks for; s->config and s->log are set. Answers 0, or the exit code after logging why;
 * 0 also with stopped_early. service_stop must be called in either case. */
int service_start(struct service *s);
/* The plan becomes the one to replicate: a difference of definitions (incremental-deploy 4). It is stored when this returns, or will be
 * within moments (in the middle of a large transaction). Any thread. */
bool service_deploy(struct service *s, struct plan *plan, struct error *err);
/* For the admin API: why the configured sync config is not what runs; "": it is. */
void service_config_problem(struct service *s, const char *text);
/* Streams end cleanly, what is complete is committed, everything is freed. */
void service_stop(struct service *s);

/* False: there is no replicator now (none is needed, or it is just being started). Any thread; does not wait. traffic
 * may be NULL. */
bool service_replicator_status(struct service *s, struct replicator_status *out, struct source_traffic *traffic);

/* The tables of the maintained sync configs, in the arena; none while there is no replicator, or one is just being started. */
void service_replicator_tables(struct service *s, struct arena *arena, struct replicator_table **out, size_t *count);

/* service_metrics.c: the registry, before everything else; and its port, after everything else. */
void service_init_metrics(struct service *s);
bool service_publish_metrics(struct service *s, struct error *err);

/* service_jobs.c: what is done now and then, from here on. */
bool service_start_jobs(struct service *s, struct error *err);

/* service_commands.c: from here on commands of other processes are taken. */
void service_listen(struct service *s);

#endif
