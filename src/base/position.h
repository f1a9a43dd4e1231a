/*
 * position.h: a place in the source's history.
 *
 * Positions of one era compare by LSN. The era goes up when the source itself went back (restored, failed over with loss):
 * every position of the new era sorts after all of the old one (checkpoint-requests 2, "another source behind the same address").
 */
#ifndef SYNCLINE_BASE_POSITION_H
#define SYNCLINE_BASE_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct position {
	uint64_t era;
	uint64_t lsn; /* Postgres: byte position in the WAL */
};

static inline int position_cmp(struct position a, struct position b)
{
	if (a.era != b.era)
		return a.era < b.era ? -1 : 1;
	return a.lsn < b.lsn ? -1 : a.lsn > b.lsn;
}

#define LSN_TEXT_SIZE 18
/* XXXXXXXX/XXXXXXXX, upper-case hex, so that text order is numeric order (source-postgres 7.1). */
void lsn_format(uint64_t lsn, char out[LSN_TEXT_SIZE]);
/* The padded form, or Postgres' own (0/1D9ADA8). */
bool lsn_parse(struct slice text, uint64_t *out);

#endif
