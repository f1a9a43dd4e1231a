/*
 * pull.h: a small sync client: the state of its buckets (pull_state.c), and where its rows go (pull_output.c). One thread.
 *
 * Rows are shown at complete checkpoints only, after every bucket's checksum was compared.
 */
#ifndef SYNCLINE_CLI_PULL_H
#define SYNCLINE_CLI_PULL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

/* ---- pull_state.c ------------------------------------------------------------------------------------------------------------- */

struct pull_state;

struct pull_counts {
	uint64_t lines, operations, checkpoints;
	uint64_t expected; /* operations at the end of the checkpoint under way; fewer come where history was compacted */
	size_t buckets;
};

/* What has changed of a row since the last complete checkpoint; data NULL: it is gone. */
typedef bool (*pull_row_fn)(void *ctx, const char *type, const char *id, const char *data, struct error *err);

struct pull_state *pull_state_new(void);
void pull_state_free(struct pull_state *s);
/* The "buckets" member of the next request. */
json_t *pull_state_positions(const struct pull_state *s);
/* Takes one line of the stream. *complete: it ended a checkpoint, and all checksums are right. False: the line is wrong, or a
 * checksum is. */
bool pull_state_line(struct pull_state *s, const json_t *line, bool *complete, struct error *err);
/* Calls for each row that changed, each once, and forgets that it did. */
bool pull_state_changes(struct pull_state *s, pull_row_fn each, void *ctx, struct error *err);
void pull_state_counts(const struct pull_state *s, struct pull_counts *out);

/* ---- pull_output.c ------------------------------------------------------------------------------------------------------------- */

struct pull_output;

/* sqlite_path NULL: JSON lines on standard output. NULL: libsqlite3 is missing, or the file cannot be written. */
struct pull_output *pull_output_open(const char *sqlite_path, struct error *err);
bool pull_output_begin(struct pull_output *o, struct error *err);
bool pull_output_row(void *output, const char *type, const char *id, const char *data, struct error *err);
bool pull_output_commit(struct pull_output *o, struct error *err);
void pull_output_close(struct pull_output *o);

#endif
