/*
 * preview.h: what deploying a compiled sync config would change in the store (incremental-deploy 4, 10): for logs and for people who
 * want to know before.
 */
#ifndef SYNCLINE_STORAGE_PREVIEW_H
#define SYNCLINE_STORAGE_PREVIEW_H

#include "storage/storage.h"

enum change_kind {
	CHANGE_KEPT,     /* the active sync config has it */
	CHANGE_REUSABLE, /* maintained, but not shown: it is pending, or was replaced a while ago */
	CHANGE_NEW,      /* to be filled from the tables that it reads */
	CHANGE_REMOVED,  /* only the active sync config has it */
};

struct definition_change {
	enum change_kind kind;
	const struct definition *definition; /* of the plan; of the active one for CHANGE_REMOVED: lives as long as the preview */
	uint32_t number;                     /* 0: none yet */
	bool filling;                        /* reusable, but not filled to its end */
};

struct plan_preview {
	bool unchanged;                    /* equal text to the active one, nothing pending */
	struct definition_change *changes; /* the plan's in its order, then the removed ones */
	size_t count;
	size_t counts[4];                                /* by kind */
	struct stored_plan *held[2 + MAX_RETIRED_PLANS]; /* what the definitions above belong to */
	size_t held_count;
};

/* Any thread. */
void storage_preview(struct storage *s, const struct plan *plan, struct plan_preview *out);
void plan_preview_free(struct plan_preview *p);

#endif
