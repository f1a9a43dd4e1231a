/*
 * probe_files.h: the probes as files for orchestrators that look at a folder (http-api-and-operations 3): .probes/startup and
 * .probes/ready once the start is complete, .probes/poll at each sign of life. Each holds the time in milliseconds since 1970. They are
 * left behind at the end; errors of writing are ignored.
 */
#ifndef SYNCLINE_CLI_PROBE_FILES_H
#define SYNCLINE_CLI_PROBE_FILES_H

#include <stdbool.h>
#include <stdint.h>

struct probe_files;

/* The start is complete. is_live is asked on a thread of its own, every five seconds. NULL: no thread could be started. */
struct probe_files *probe_files_start(bool (*is_live)(void *ctx, int64_t *touched_at_ms), void *ctx);
void probe_files_stop(struct probe_files *p); /* NULL is fine */

#endif
