/*
 * image.h: the copy of a source row that the engine keeps where an update may leave values out (unchanged TOAST values).
 *
 * Format: for each column that has a value: varint length of name, name, kind byte (0 NULL, 1 text), for text: varint length, bytes.
 * Values are the source's wire text, by column name, so that the copy survives renumbered columns and other mapping options.
 */
#ifndef SYNCLINE_REPLICATE_IMAGE_H
#define SYNCLINE_REPLICATE_IMAGE_H

#include "base/arena.h"
#include "base/slice.h"
#include "replicate/binding.h"

/* RAW_UNCHANGED columns are left out, and those that are no text of the source any more (RAW_VALUE). In the arena. */
struct slice image_encode(const struct source_relation *r, const struct raw_value *row, struct arena *arena);

/* Gives each RAW_UNCHANGED column of row the value that the image has for its name. Answers true if none is left unknown. The values
 * point into the image. */
bool image_fill(const struct source_relation *r, struct raw_value *row, struct slice image);

/* The same from a row as the rules saw it, where its values last (value_mapper_stored). They point into *stored. */
bool image_fill_values(const struct binding *b, struct raw_value *row, const struct stored_row *stored);

#endif
