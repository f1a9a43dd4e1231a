/* checkpoint.c: the checkpoint that clients are served, and which older ones may still be in use. */
#include "base/clock.h"
#include "storage/internal.h"

void checkpoint_publish(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	s->checkpoint = (struct checkpoint){.valid = s->state.active_plan && s->state.has_checkpoint,
	                                    .op_id = s->state.checkpoint_op,
	                                    .position = s->state.checkpoint_position,
	                                    .plan_id = s->state.active_plan};
	s->durable = s->committed.applied;
	s->durable_shown = s->committed.checkpoint_position;
	memcpy(s->source.slot_name, s->state.slot_name, sizeof(s->source.slot_name));
	memcpy(s->source.system_id, s->state.system_id, sizeof(s->source.system_id));
	s->source.timeline = s->state.timeline;
	s->source.applied = s->state.applied;
	pthread_mutex_unlock(&s->lock);
}

#define SAMPLE_EVERY_MS (CHECKPOINT_MARGIN_MS / (CHECKPOINT_SAMPLES - 4))

/* A reader that began before the newest checkpoint may hold an older one for a while. Samples say what was served when; nothing older
 * than the first one was handed out by this process. */
void checkpoint_sample(struct storage *s)
{
	int64_t now = clock_mono_ms();
	pthread_mutex_lock(&s->lock);
	if (!s->sample_count || now - s->samples[s->sample_count - 1].mono_ms >= SAMPLE_EVERY_MS) {
		if (s->sample_count == CHECKPOINT_SAMPLES) {
			memmove(&s->samples[0], &s->samples[1], (CHECKPOINT_SAMPLES - 1) * sizeof(s->samples[0]));
			s->sample_count--;
		}
		s->samples[s->sample_count].op_id = s->state.checkpoint_op;
		s->samples[s->sample_count++].mono_ms = now;
	}
	pthread_mutex_unlock(&s->lock);
}

uint64_t checkpoint_floor(struct storage *s, int64_t margin_ms)
{
	pthread_mutex_lock(&s->lock);
	uint64_t floor = s->checkpoint.op_id;
	if (!s->sample_count) {
		floor = UINT64_MAX;
	} else if (margin_ms > 0) {
		int64_t then = clock_mono_ms() - margin_ms;
		size_t i = s->sample_count;
		while (i > 1 && s->samples[i - 1].mono_ms > then)
			i--;
		floor = s->samples[i - 1].op_id;
	}
	pthread_mutex_unlock(&s->lock);
	return floor;
}

void checkpoint_note_announced(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	s->announced = s->checkpoint;
	pthread_mutex_unlock(&s->lock);
}

struct checkpoint checkpoint_announced(struct storage *s)
{
	pthread_mutex_lock(&s->lock);
	struct checkpoint c = s->announced;
	pthread_mutex_unlock(&s->lock);
	return c;
}

uint64_t lookup_floor(struct storage *s)
{
	return checkpoint_floor(s, CHECKPOINT_MARGIN_MS);
}
