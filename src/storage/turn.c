/* turn.c: whose turn it is to write, in the order of asking; and the steps of sessions that are under way. */
#include <stdatomic.h>

#include "storage/internal.h"

void turn_init(struct turn *t)
{
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
}

void turn_destroy(struct turn *t)
{
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
}

void turn_take(struct turn *t)
{
	pthread_mutex_lock(&t->lock);
	uint64_t mine = t->next++;
	while (t->serving != mine)
		pthread_cond_wait(&t->changed, &t->lock);
	pthread_mutex_unlock(&t->lock);
}

void turn_give(struct turn *t)
{
	pthread_mutex_lock(&t->lock);
	t->serving++;
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
}

unsigned storage_step_begin(struct storage *s)
{
	unsigned phase = atomic_load(&s->steps.phase) & 1;
	atomic_fetch_add(&s->steps.running[phase], 1);
	return phase;
}

void storage_step_end(struct storage *s, unsigned token)
{
	atomic_fetch_sub(&s->steps.running[token & 1], 1);
}
