/* cast.h: CAST(x AS type), sync-config 10.4. Pure. */
#ifndef SYNCLINE_VALUE_CAST_H
#define SYNCLINE_VALUE_CAST_H

#include "value/value.h"

enum cast_type { CAST_TEXT, CAST_INTEGER, CAST_REAL, CAST_NUMERIC, CAST_BLOB };

/* By the lower-cased name; false: not one of the five (class cast_unsupported, bad-cast). */
bool cast_type_find(struct slice name, enum cast_type *out);
const char *cast_type_name(enum cast_type type);

/* NULL and absent give NULL. Text and blobs of the result point into v or the arena. Errors: NaN or infinite to integer; a result
 * beyond 64 bits (9.4). */
bool value_cast(const struct value *v, enum cast_type type, struct arena *arena, struct value *out, struct error *err);

#endif
