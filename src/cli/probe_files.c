/* probe_files.c: see probe_files.h. */
#include "cli/probe_files.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"

#define FOLDER ".probes"
#define INTERVAL_S 5

struct probe_files {
	bool (*is_live)(void *ctx, int64_t *touched_at_ms);
	void *ctx;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping;
};

static void write_time(const char *name, int64_t wall_ms)
{
	char path[64], text[24];
	snprintf(path, sizeof(path), FOLDER "/%s", name);
	int n = snprintf(text, sizeof(text), "%lld", (long long)wall_ms),
	    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	ssize_t ignored = write(fd, text, (size_t)n);
	(void)ignored;
	close(fd);
}

/* A sign of life that is older than the last one written is none. */
static void *run(void *arg)
{
	struct probe_files *p = arg;
	int64_t written = 0, touched;
	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		pthread_mutex_unlock(&p->lock);
		if (p->is_live(p->ctx, &touched) && touched > written) {
			write_time("poll", touched);
			written = touched;
		}
		pthread_mutex_lock(&p->lock);
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += INTERVAL_S;
		if (!p->stopping)
			pthread_cond_timedwait(&p->changed, &p->lock, &until);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

struct probe_files *probe_files_start(bool (*is_live)(void *ctx, int64_t *touched_at_ms), void *ctx)
{
	struct probe_files *p = xcalloc(1, sizeof(*p));
	pthread_condattr_t monotonic;
	p->is_live = is_live;
	p->ctx = ctx;
	mkdir(FOLDER, 0755);
	write_time("startup", clock_wall_ms());
	write_time("ready", clock_wall_ms());
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (pthread_create(&p->thread, NULL, run, p) == 0)
		return p;
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p);
	return NULL;
}

void probe_files_stop(struct probe_files *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	pthread_cond_signal(&p->changed);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p);
}
