/* compact_walk.c: see compact_walk.h. */
#include "storage/compact_walk.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "base/alloc.h"

/* What the reference counts for a row on top of its key. */
#define ROW_MEMORY 140

struct seen_row {
	uint64_t newest; /* op id */
	UT_hash_handle hh;
	char key[];
};

/* While memory lasts: the newest rows stay known. NULL: it is used up. */
static struct seen_row *remember(struct compact_walk *w, struct slice row, uint64_t op_id)
{
	size_t size = row.n + ROW_MEMORY;
	if (size > w->memory)
		return NULL;
	w->memory -= size;
	struct seen_row *s = arena_calloc(&w->rows, sizeof(*s) + row.n);
	memcpy(s->key, row.p, row.n);
	s->newest = op_id;
	HASH_ADD_KEYPTR(hh, w->seen, s->key, row.n, s);
	return s;
}

bool compact_walk_op(struct compact_walk *w, const struct compact_op *op, struct slice *first)
{
	bool stays = op->kind == OP_PUT;
	*first = (struct slice){NULL, 0};
	if (op->kind == OP_PUT || op->kind == OP_REMOVE) {
		struct seen_row *s;
		HASH_FIND(hh, w->seen, op->row.p, op->row.n, s);
		if (s) {
			w->moves = xgrow(w->moves, w->move_count, &w->move_cap, sizeof(*w->moves));
			w->moves[w->move_count++] = (struct op_move){op->op_id, s->newest};
			stays = false;
		} else if ((s = remember(w, op->row, op->op_id))) {
			*first = slice_make(s->key, op->row.n);
		}
	}
	if (stays) {
		w->run_count = 0;
	} else if (op->kind != OP_CLEAR) {
		if (!w->run_count++)
			w->run_last = op->op_id;
	}
	return stays;
}

void compact_walk_free(struct compact_walk *w)
{
	HASH_CLEAR(hh, w->seen);
	arena_free(&w->rows);
	free(w->moves);
}
