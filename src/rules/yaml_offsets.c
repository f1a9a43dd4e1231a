/*
 * yaml_offsets.c: where the characters of a decoded scalar stand in the YAML text (sync-config 6).
 *
 * libyaml gives only the decoded text and the node's two ends, so the scalar's source is read once more by the rules of its style,
 * noting for each decoded byte where it came from. This happens only for scalars that a diagnostic points into. If the second reading
 * should ever differ from libyaml's text, positions fall back to counting bytes from the start.
 */
#include <string.h>

#include "rules/yaml_tree.h"

struct scan {
	struct slice src;
	size_t at, end; /* in src */
	const struct ynode *n;
	uint32_t *offsets;
	size_t count; /* decoded so far */
	bool wrong;
};

static void put(struct scan *s, char c, size_t offset)
{
	if (s->count >= s->n->text.n || s->n->text.p[s->count] != c) {
		s->wrong = true;
		return;
	}
	s->offsets[s->count++] = (uint32_t)offset;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool at_break(const struct scan *s)
{
	return s->at < s->end && (s->src.p[s->at] == '\n' || s->src.p[s->at] == '\r');
}

static void take_break(struct scan *s)
{
	if (s->src.p[s->at] == '\r' && s->at + 1 < s->end && s->src.p[s->at + 1] == '\n')
		s->at++;
	s->at++;
}

static void skip_blanks(struct scan *s)
{
	while (s->at < s->end && blank(s->src.p[s->at]))
		s->at++;
}

/* A run of line breaks in a plain or quoted scalar: one becomes a blank, further ones stay. */
static void fold_breaks(struct scan *s)
{
	size_t first = s->at;
	take_break(s);
	skip_blanks(s);
	if (!at_break(s)) {
		put(s, ' ', first);
		return;
	}
	while (at_break(s)) {
		put(s, '\n', s->at);
		take_break(s);
		skip_blanks(s);
	}
}

/* Blanks in front of a break vanish; others stay. Answers true if a break was folded. */
static bool blanks_or_fold(struct scan *s)
{
	size_t from = s->at;
	skip_blanks(s);
	if (at_break(s)) {
		fold_breaks(s);
		return true;
	}
	for (size_t i = from; i < s->at; i++)
		put(s, s->src.p[i], i);
	return false;
}

static void scan_plain(struct scan *s)
{
	while (s->at < s->end && !s->wrong) {
		if (blank(s->src.p[s->at]) || at_break(s)) {
			blanks_or_fold(s);
			continue;
		}
		put(s, s->src.p[s->at], s->at);
		s->at++;
	}
}

static void scan_single(struct scan *s)
{
	s->at++;
	while (s->at < s->end && !s->wrong) {
		char c = s->src.p[s->at];
		if (c == '\'') {
			if (s->at + 1 >= s->end || s->src.p[s->at + 1] != '\'')
				return;
			put(s, c, s->at);
			s->at += 2;
		} else if (blank(c) || at_break(s)) {
			blanks_or_fold(s);
		} else {
			put(s, c, s->at);
			s->at++;
		}
	}
}

static unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

static void put_code_point(struct scan *s, uint32_t c, size_t offset)
{
	char u[4];
	size_t n = 0;
	if (c < 0x80) {
		u[n++] = (char)c;
	} else if (c < 0x800) {
		u[n++] = (char)(0xc0 | c >> 6);
		u[n++] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		u[n++] = (char)(0xe0 | c >> 12);
		u[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		u[n++] = (char)(0x80 | (c & 0x3f));
	} else {
		u[n++] = (char)(0xf0 | (c >> 18 & 7));
		u[n++] = (char)(0x80 | (c >> 12 & 0x3f));
		u[n++] = (char)(0x80 | (c >> 6 & 0x3f));
		u[n++] = (char)(0x80 | (c & 0x3f));
	}
	for (size_t i = 0; i < n; i++)
		put(s, u[i], offset);
}

static void scan_escape(struct scan *s)
{
	static const char from[] = "0abt\tnvfre \"'/\\";
	static const char to[] = "\0\a\b\t\t\n\v\f\r\x1b \"'/\\";
	size_t offset = s->at++;
	if (s->at >= s->end) {
		s->wrong = true;
		return;
	}
	if (at_break(s)) {
		take_break(s);
		skip_blanks(s);
		return;
	}
	char e = s->src.p[s->at++];
	size_t digits = e == 'x' ? 2 : e == 'u' ? 4 : e == 'U' ? 8 : 0;
	if (digits) {
		uint32_t c = 0;
		for (; digits && s->at < s->end; digits--)
			c = c * 16 + hex_digit(s->src.p[s->at++]);
		put_code_point(s, c, offset);
		return;
	}
	const char *found = memchr(from, e, sizeof(from) - 1);
	if (found)
		put(s, to[found - from], offset);
	else
		put_code_point(s, e == 'N' ? 0x85 : e == '_' ? 0xa0 : e == 'L' ? 0x2028 : 0x2029, offset);
}

static void scan_double(struct scan *s)
{
	s->at++;
	while (s->at < s->end && !s->wrong) {
		char c = s->src.p[s->at];
		if (c == '"')
			return;
		if (c == '\\') {
			scan_escape(s);
		} else if (blank(c) || at_break(s)) {
			blanks_or_fold(s);
		} else {
			put(s, c, s->at);
			s->at++;
		}
	}
}

/* Columns of leading blanks of the line at 'at'. */
static size_t line_lead(const struct scan *s, size_t at)
{
	size_t n = 0;
	while (at + n < s->end && s->src.p[at + n] == ' ')
		n++;
	return n;
}

static bool line_is_empty(const struct scan *s, size_t at)
{
	size_t i = at + line_lead(s, at);
	return i >= s->end || s->src.p[i] == '\n' || s->src.p[i] == '\r';
}

static size_t line_end(const struct scan *s, size_t at)
{
	while (at < s->end && s->src.p[at] != '\n' && s->src.p[at] != '\r')
		at++;
	return at;
}

/* Reads the header of a block scalar; answers the indentation if it is written there, else 0. */
static size_t block_header(struct scan *s)
{
	size_t explicit_indent = 0;
	s->at++;
	while (s->at < s->end && s->src.p[s->at] != '\n' && s->src.p[s->at] != '\r' && s->src.p[s->at] != '#') {
		char c = s->src.p[s->at++];
		if (c >= '1' && c <= '9')
			explicit_indent = (size_t)(c - '0');
	}
	s->at = line_end(s, s->at);
	if (at_break(s))
		take_break(s);
	return explicit_indent;
}

static void scan_block(struct scan *s)
{
	bool folded = s->n->style == YSCALAR_FOLDED;
	size_t indent = block_header(s);
	if (indent)
		indent += s->n->parent_indent;
	for (size_t at = s->at; !indent && at < s->end; at = line_end(s, at) + 1)
		if (!line_is_empty(s, at))
			indent = line_lead(s, at);
	bool previous_text = false; /* the line before is one that folding may join */
	size_t previous_end = 0, breaks = 0;
	while (s->at < s->end && s->count < s->n->text.n && !s->wrong) {
		size_t end = line_end(s, s->at);
		size_t text = s->at + indent < end ? s->at + indent : end;
		if (line_is_empty(s, s->at) && line_lead(s, s->at) <= indent) {
			breaks++;
		} else {
			bool joinable = folded && !blank(s->src.p[text]);
			if (previous_text && joinable && breaks == 1)
				put(s, ' ', previous_end);
			else
				for (size_t i = previous_text && joinable ? 1 : 0; i < breaks; i++)
					put(s, '\n', previous_end);
			for (size_t i = text; i < end; i++)
				put(s, s->src.p[i], i);
			previous_text = joinable;
			previous_end = end;
			breaks = 1;
		}
		s->at = end;
		if (at_break(s))
			take_break(s);
	}
	/* The last newlines, as many as chomping left. */
	while (s->count < s->n->text.n && !s->wrong)
		put(s, '\n', previous_end);
	s->at = previous_end + (s->n->text.n && s->n->text.p[s->n->text.n - 1] == '\n');
}

static void map_offsets(struct ydoc *doc, struct ynode *n)
{
	n->offsets = arena_array(doc->arena, uint32_t, n->text.n + 1);
	bool block = n->style == YSCALAR_LITERAL || n->style == YSCALAR_FOLDED;
	struct scan s = {
	        .src = doc->text, .at = n->start, .end = block ? doc->text.n : n->value_end, .n = n, .offsets = n->offsets};
	switch (n->style) {
	case YSCALAR_PLAIN:
		scan_plain(&s);
		break;
	case YSCALAR_SINGLE:
		scan_single(&s);
		break;
	case YSCALAR_DOUBLE:
		scan_double(&s);
		break;
	case YSCALAR_LITERAL:
	case YSCALAR_FOLDED:
		scan_block(&s);
		break;
	}
	if (s.wrong || s.count != n->text.n) {
		for (size_t i = 0; i <= n->text.n; i++)
			n->offsets[i] = (uint32_t)(n->start + i < doc->text.n ? n->start + i : doc->text.n);
		return;
	}
	n->offsets[n->text.n] = (uint32_t)(s.at < doc->text.n ? s.at : doc->text.n);
}

size_t ynode_offset(struct ydoc *doc, struct ynode *n, size_t i)
{
	if (!n->offsets)
		map_offsets(doc, n);
	return n->offsets[i < n->text.n ? i : n->text.n];
}
