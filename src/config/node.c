/* node.c: looking things up in the tree, and JavaScript's ways of reading numbers. */
#include "config/node.h"

#include <math.h>
#include <stdlib.h>

const struct node *node_get(const struct node *map, const char *key)
{
	if (!map || map->kind != NODE_MAP)
		return NULL;
	struct slice k = slice_cstr(key);
	for (size_t i = 0; i < map->map.count; i++)
		if (slice_eq(map->map.members[i].key, k))
			return map->map.members[i].value;
	return NULL;
}

const struct node *node_at(const struct node *root, const char *path)
{
	while (root && *path) {
		char key[128];
		size_t n = strcspn(path, ".");
		if (n >= sizeof(key))
			return NULL;
		memcpy(key, path, n);
		key[n] = '\0';
		root = node_get(root, key);
		path += n + (path[n] == '.');
	}
	return root;
}

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int digit_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c |= 32;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static bool based_number(struct slice s, int base, double *out)
{
	double v = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (digit_value(s.p[i]) >= base)
			return false;
		v = v * base + digit_value(s.p[i]);
	}
	*out = v;
	return s.n > 0;
}

/* [digits][.digits][e[sign]digits] with at least one digit before the exponent. */
static bool is_decimal(struct slice s)
{
	size_t i = 0, digits = 0;
	for (; i < s.n && is_digit(s.p[i]); i++)
		digits++;
	if (i < s.n && s.p[i] == '.')
		for (i++; i < s.n && is_digit(s.p[i]); i++)
			digits++;
	if (!digits)
		return false;
	if (i < s.n && (s.p[i] | 32) == 'e') {
		i++;
		if (i < s.n && (s.p[i] == '+' || s.p[i] == '-'))
			i++;
		if (i == s.n)
			return false;
		while (i < s.n && is_digit(s.p[i]))
			i++;
	}
	return i == s.n;
}

bool number_from_text(struct slice s, double *out)
{
	while (s.n && is_blank(s.p[0]))
		s = slice_drop(s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	*out = 0;
	if (s.n == 0)
		return true;
	if (s.n > 2 && s.p[0] == '0') {
		char base = (char)(s.p[1] | 32);
		if (base == 'x' || base == 'o' || base == 'b')
			return based_number(slice_drop(s, 2), base == 'x' ? 16 : base == 'o' ? 8 : 2, out);
	}
	bool negative = s.p[0] == '-';
	if (negative || s.p[0] == '+')
		s = slice_drop(s, 1);
	if (slice_eq(s, SLICE("Infinity"))) {
		*out = negative ? -INFINITY : INFINITY;
		return true;
	}
	char text[400];
	if (!is_decimal(s) || s.n >= sizeof(text))
		return false;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	double v = strtod(text, NULL);
	*out = negative ? -v : v;
	return true;
}

bool number_from_prefix(struct slice s, double *out)
{
	while (s.n && is_blank(s.p[0]))
		s = slice_drop(s, 1);
	bool negative = s.n && s.p[0] == '-';
	if (s.n && (s.p[0] == '-' || s.p[0] == '+'))
		s = slice_drop(s, 1);
	int base = 10;
	if (s.n >= 2 && s.p[0] == '0' && (s.p[1] | 32) == 'x') {
		base = 16;
		s = slice_drop(s, 2);
	}
	double v = 0;
	size_t n = 0;
	for (; n < s.n && digit_value(s.p[n]) < base; n++)
		v = v * base + digit_value(s.p[n]);
	*out = negative ? -v : v;
	return n > 0;
}
