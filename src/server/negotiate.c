/* negotiate.c: q-values over two media types and three codings. */
#include "server/negotiate.h"

#include "server/http_request.h"

/* Cuts the part up to the separator off *rest. */
static struct slice cut(struct slice *rest, char separator)
{
	const char *end = memchr(rest->p, separator, rest->n);
	struct slice part = end ? slice_make(rest->p, (size_t)(end - rest->p)) : *rest;
	*rest = slice_drop(*rest, part.n + (end ? 1 : 0));
	return http_trim(part);
}

/* 0..1000; a malformed weight counts as 0. */
static int parse_weight(struct slice s)
{
	if (s.n == 0 || (s.p[0] != '0' && s.p[0] != '1'))
		return 0;
	int whole = (s.p[0] - '0') * 1000, scale = 100, fraction = 0;
	if (s.n > 1 && s.p[1] != '.')
		return 0;
	for (size_t i = 2; i < s.n && scale; i++, scale /= 10) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return 0;
		fraction += (s.p[i] - '0') * scale;
	}
	return whole + fraction > 1000 ? 1000 : whole + fraction;
}

struct member {
	struct slice name;
	int weight;
	bool parameters; /* others than q */
};

static bool next_member(struct slice *rest, struct member *m)
{
	while (rest->n) {
		struct slice text = cut(rest, ',');
		if (text.n == 0)
			continue;
		*m = (struct member){.name = cut(&text, ';'), .weight = 1000};
		while (text.n) {
			struct slice parameter = cut(&text, ';');
			struct slice value = parameter, name = cut(&value, '=');
			if (slice_eq_nocase(name, SLICE("q")))
				m->weight = parse_weight(value);
			else if (parameter.n)
				m->parameters = true;
		}
		return true;
	}
	return false;
}

struct match {
	int weight, specificity; /* specificity: 0 none, 1 star/star, 2 application/star, 3 the type */
	int place;
};

static struct match match_type(struct slice accept, struct slice type)
{
	struct match best = {0};
	struct member m;
	for (int place = 0; next_member(&accept, &m); place++) {
		int specificity = slice_eq_nocase(m.name, type)                     ? 3
		                  : slice_eq_nocase(m.name, SLICE("application/*")) ? 2
		                  : slice_eq_nocase(m.name, SLICE("*/*"))           ? 1
		                                                                    : 0;
		if (m.parameters || specificity <= best.specificity)
			continue;
		best = (struct match){m.weight, specificity, place};
	}
	return best;
}

enum line_encoding negotiate_lines(struct slice accept)
{
	struct match json = match_type(accept, SLICE(NDJSON_TYPE)), bson = match_type(accept, SLICE(BSON_TYPE));
	if (bson.weight == 0 || bson.weight < json.weight)
		return ENCODING_NDJSON;
	if (bson.weight > json.weight)
		return ENCODING_BSON;
	if (bson.specificity != json.specificity)
		return bson.specificity > json.specificity ? ENCODING_BSON : ENCODING_NDJSON;
	return bson.place < json.place ? ENCODING_BSON : ENCODING_NDJSON;
}

/* -1: not mentioned. */
static int coding_weight(struct slice accept, struct slice coding)
{
	int weight = -1, star = -1;
	struct member m;
	while (next_member(&accept, &m)) {
		if (slice_eq_nocase(m.name, coding))
			weight = m.weight;
		else if (slice_eq(m.name, SLICE("*")))
			star = m.weight;
	}
	return weight >= 0 ? weight : star;
}

enum content_coding negotiate_coding(struct slice accept, bool *gzip_too)
{
	int zstd = coding_weight(accept, SLICE("zstd")), gzip = coding_weight(accept, SLICE("gzip"));
	/* Identity is always there, but only a weight given to it by name makes it win over the others. */
	int identity = 0;
	struct member m;
	for (struct slice rest = accept; next_member(&rest, &m);)
		if (slice_eq_nocase(m.name, SLICE("identity")))
			identity = m.weight;
	*gzip_too = gzip > 0;
	if (zstd > 0 && zstd >= gzip && zstd >= identity)
		return CODING_ZSTD;
	if (gzip > 0 && gzip >= identity)
		return CODING_GZIP;
	return CODING_IDENTITY;
}
