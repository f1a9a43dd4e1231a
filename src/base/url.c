/* url.c: see url.h. */
#include "base/url.h"

/* Is what stands before the first '/' a host, perhaps with a port? Then an '@' further on belongs to the path. */
static bool is_host(struct slice s)
{
	const char *colon = memchr(s.p, ':', s.n);
	if (s.n == 0 || s.p[0] == '[' || !colon)
		return s.n > 0;
	struct slice port = slice_drop(s, (size_t)(colon - s.p) + 1);
	uint64_t v;
	return slice_parse_u64(port, 65535, &v);
}

struct slice url_credentials(struct slice url)
{
	size_t from = 0, end, last = 0;
	for (size_t i = 0; i + 2 < url.n && !from; i++)
		if (memcmp(url.p + i, "://", 3) == 0)
			from = i + 3;
	if (!from)
		return slice_make(url.p, 0);
	for (end = from; end < url.n && !strchr("/?#", url.p[end]); end++)
		;
	if (is_host(slice_make(url.p + from, end - from)))
		url.n = end;
	for (size_t i = from; i < url.n; i++)
		if (url.p[i] == '@')
			last = i;
	return slice_make(url.p + from, last > from ? last - from : 0);
}
