/* uri.h: taking database URIs apart, exactly as far as configuration 2.3 says and no further. */
#ifndef SYNCLINE_CONFIG_URI_H
#define SYNCLINE_CONFIG_URI_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"

/* All parts in the arena; p == NULL: not there. */
struct uri {
	struct slice scheme;   /* lower case */
	struct slice userinfo; /* normalised: escapes of unreserved characters decoded, others in upper case */
	struct slice host;     /* lower case, without brackets */
	struct slice port;     /* digits, or something else that the caller has to refuse */
	struct slice path;     /* without its first '/'; normalised like userinfo */
	struct slice query;
};

/* False: no scheme. */
bool uri_split(struct slice text, struct arena *arena, struct uri *out);
/* Value of a query member as written; p == NULL: not there. */
struct slice uri_query_member(const struct uri *uri, const char *name);
/* With every %XX decoded. */
struct slice uri_decode(struct slice text, struct arena *arena);

#endif
