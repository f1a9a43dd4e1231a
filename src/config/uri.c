/* uri.c: RFC 3986 splitting with the normalisation that configuration 2.3 describes. */
#include "config/uri.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_escape(struct slice s, size_t i)
{
	return s.p[i] == '%' && i + 2 < s.n && hex_value(s.p[i + 1]) >= 0 && hex_value(s.p[i + 2]) >= 0;
}

static char escape_value(struct slice s, size_t i)
{
	return (char)(hex_value(s.p[i + 1]) * 16 + hex_value(s.p[i + 2]));
}

static struct slice decode(struct slice s, struct arena *arena, bool unreserved_only)
{
	char *out = arena_bytes(arena, s.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (!is_escape(s, i)) {
			out[n++] = s.p[i];
			continue;
		}
		char c = escape_value(s, i);
		if (!unreserved_only || is_letter_or_digit(c) || (c && strchr("-._~", c))) {
			out[n++] = c;
		} else {
			static const char digits[] = "0123456789ABCDEF";
			out[n++] = '%';
			out[n++] = digits[hex_value(s.p[i + 1])];
			out[n++] = digits[hex_value(s.p[i + 2])];
		}
		i += 2;
	}
	out[n] = '\0';
	return slice_make(out, n);
}

struct slice uri_decode(struct slice text, struct arena *arena)
{
	return decode(text, arena, false);
}

static struct slice lower(struct slice s, struct arena *arena)
{
	char *out = arena_bytes(arena, s.n + 1);
	for (size_t i = 0; i < s.n; i++)
		out[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + 32) : s.p[i];
	out[s.n] = '\0';
	return slice_make(out, s.n);
}

/* Up to the first of the characters, which stays in *rest. */
static struct slice take_until(struct slice *rest, const char *stops)
{
	size_t n = 0;
	while (n < rest->n && !(rest->p[n] && strchr(stops, rest->p[n])))
		n++;
	struct slice taken = slice_make(rest->p, n);
	*rest = slice_drop(*rest, n);
	return taken;
}

static void split_authority(struct slice authority, struct arena *arena, struct uri *out)
{
	const char *at = memchr(authority.p, '@', authority.n);
	if (at) {
		size_t n = (size_t)(at - authority.p);
		out->userinfo = decode(slice_make(authority.p, n), arena, true);
		authority = slice_drop(authority, n + 1);
	}
	struct slice host;
	if (authority.n && authority.p[0] == '[') {
		authority = slice_drop(authority, 1);
		host = take_until(&authority, "]");
		authority = slice_drop(authority, 1);
	} else {
		host = take_until(&authority, ":");
	}
	out->host = lower(decode(host, arena, true), arena);
	if (authority.n && authority.p[0] == ':')
		authority = slice_drop(authority, 1);
	if (authority.n)
		out->port = authority;
}

bool uri_split(struct slice text, struct arena *arena, struct uri *out)
{
	*out = (struct uri){0};
	struct slice rest = text;
	struct slice scheme = take_until(&rest, ":/?#");
	if (scheme.n == 0 || rest.n == 0 || rest.p[0] != ':')
		return false;
	out->scheme = lower(scheme, arena);
	rest = slice_drop(rest, 1);
	if (slice_starts(rest, SLICE("//"))) {
		rest = slice_drop(rest, 2);
		split_authority(take_until(&rest, "/?#"), arena, out);
	}
	struct slice path = take_until(&rest, "?#");
	out->path = decode(slice_drop(path, path.n && path.p[0] == '/'), arena, true);
	if (rest.n && rest.p[0] == '?') {
		rest = slice_drop(rest, 1);
		out->query = take_until(&rest, "#");
	}
	return true;
}

struct slice uri_query_member(const struct uri *uri, const char *name)
{
	struct slice rest = uri->query, wanted = slice_cstr(name);
	while (rest.n) {
		struct slice member = take_until(&rest, "&");
		rest = slice_drop(rest, 1);
		struct slice key = take_until(&member, "=");
		if (slice_eq(key, wanted))
			return slice_drop(member, 1);
	}
	return slice_make(NULL, 0);
}
