/*
 * marker.h: makes markers in the source on a connection and a thread of its own, so that the next batch of requests does not wait for
 * the last one's marker (a flush in the source, milliseconds on an ordinary disk).
 *
 * Whoever asks gets a marker that is begun after the asking; what is asked for while one is being made shares the next.
 */
#ifndef SYNCLINE_SERVER_MARKER_H
#define SYNCLINE_SERVER_MARKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "server/requests.h"
#include "source/source.h"

struct marker;

/* source NULL: every attempt fails. on_connected: after each (re)connect, on another thread. */
struct marker *marker_start(struct source *source, const struct log *log, void (*on_connected)(void *ctx), void *ctx);
/* Any thread. jobs (a list, may be NULL) are finished with OUTCOME_DONE once the marker was made, or failed: it is owed then. */
void marker_want(struct marker *m, struct checkpoint_job *jobs);
/* Time of the last attempt (monotonic), whether it failed, and how many were made. */
void marker_status(struct marker *m, int64_t *attempt_ms, bool *owed, uint64_t *made);
/* Cuts a call that is under way, finishes the jobs, joins the thread. */
void marker_stop(struct marker *m);
void marker_free(struct marker *m);

#endif
