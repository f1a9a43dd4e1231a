/*
 * json_reader.c: strict JSON (RFC 8259) -> positioned tree (configuration 1.2).
 *
 * Written here because jansson does not keep positions, and an operator needs the line of a bad key. Duplicate keys: the last wins,
 * as in JSON.parse.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/buf.h"

#include "config/node.h"

struct reader {
	const char *at, *end, *line_start;
	int line, depth;
	struct arena *arena;
	struct findings *d;
};

static struct node *read_value(struct reader *r);

static void *bad(struct reader *r, const char *what)
{
	findings_error(r->d, r->line, (int)(r->at - r->line_start) + 1, "not valid JSON: %s", what);
	return NULL;
}

static void skip_blanks(struct reader *r)
{
	for (; r->at < r->end; r->at++) {
		if (*r->at == '\n') {
			r->line++;
			r->line_start = r->at + 1;
		} else if (*r->at != ' ' && *r->at != '\t' && *r->at != '\r') {
			return;
		}
	}
}

static bool take(struct reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

static bool take_word(struct reader *r, const char *word)
{
	size_t n = strlen(word);
	if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
		return false;
	r->at += n;
	return true;
}

static bool read_hex4(struct reader *r, unsigned *out)
{
	*out = 0;
	for (int i = 0; i < 4; i++, r->at++) {
		if (r->at == r->end)
			return false;
		char c = *r->at, low = (char)(c | 32);
		if (c >= '0' && c <= '9')
			*out = *out * 16 + (unsigned)(c - '0');
		else if (low >= 'a' && low <= 'f')
			*out = *out * 16 + (unsigned)(low - 'a' + 10);
		else
			return false;
	}
	return true;
}

static void append_utf8(struct buf *out, unsigned c)
{
	if (c < 0x80) {
		buf_putc(out, (char)c);
	} else if (c < 0x800) {
		buf_putc(out, (char)(0xC0 | c >> 6));
		buf_putc(out, (char)(0x80 | (c & 0x3F)));
	} else if (c < 0x10000) {
		buf_putc(out, (char)(0xE0 | c >> 12));
		buf_putc(out, (char)(0x80 | (c >> 6 & 0x3F)));
		buf_putc(out, (char)(0x80 | (c & 0x3F)));
	} else {
		buf_putc(out, (char)(0xF0 | c >> 18));
		buf_putc(out, (char)(0x80 | (c >> 12 & 0x3F)));
		buf_putc(out, (char)(0x80 | (c >> 6 & 0x3F)));
		buf_putc(out, (char)(0x80 | (c & 0x3F)));
	}
}

static bool read_escape(struct reader *r, struct buf *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	if (r->at == r->end)
		return false;
	char c = *r->at++;
	if (c == 'u') {
		unsigned high, low;
		if (!read_hex4(r, &high))
			return false;
		if (high >= 0xD800 && high < 0xDC00 && take_word(r, "\\u")) {
			if (!read_hex4(r, &low) || low < 0xDC00 || low > 0xDFFF)
				return false;
			high = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
		}
		append_utf8(out, high >= 0xD800 && high <= 0xDFFF ? 0xFFFD : high);
		return true;
	}
	const char *found = c ? strchr(from, c) : NULL;
	if (found)
		buf_putc(out, to[found - from]);
	return found != NULL;
}

static bool read_string(struct reader *r, struct slice *out)
{
	if (!take(r, '"'))
		return bad(r, "a string is expected");
	struct buf text = {0};
	bool ok = true;
	while (ok && r->at < r->end && *r->at != '"') {
		char c = *r->at++;
		if ((unsigned char)c < 0x20)
			ok = false;
		else if (c == '\\')
			ok = read_escape(r, &text);
		else
			buf_putc(&text, c);
	}
	ok = ok && take(r, '"');
	if (ok)
		*out = slice_make(arena_cstr(r->arena, buf_slice(&text)), text.n);
	buf_free(&text);
	return ok || bad(r, "bad string");
}

static bool read_number(struct reader *r, double *out)
{
	const char *start = r->at;
	take(r, '-');
	const char *digits = r->at;
	while (r->at < r->end && strchr("+-.eE0123456789", *r->at) && *r->at)
		r->at++;
	struct slice s = slice_make(start, (size_t)(r->at - start));
	bool leading_zero = r->at - digits > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9';
	bool ok = r->at > digits && digits[0] >= '0' && digits[0] <= '9' && !leading_zero && s.p[s.n - 1] != '.' &&
	          number_from_text(s, out);
	for (size_t i = 1; ok && i + 1 < s.n; i++)
		ok = s.p[i] != '.' || (s.p[i + 1] >= '0' && s.p[i + 1] <= '9');
	return ok || bad(r, "bad number");
}

static bool read_list(struct reader *r, struct node *n)
{
	const struct node **items = NULL;
	size_t count = 0, cap = 0;
	bool ok = true;
	r->at++;
	skip_blanks(r);
	if (!take(r, ']')) {
		do {
			items = xgrow(items, count, &cap, sizeof(*items));
			ok = count < NODE_MAX_MEMBERS || bad(r, "too many entries");
			ok = ok && (items[count++] = read_value(r)) != NULL;
			skip_blanks(r);
		} while (ok && take(r, ','));
		ok = ok && (take(r, ']') || bad(r, "',' or ']' is expected"));
	}
	n->list.count = count;
	n->list.items = arena_array(r->arena, const struct node *, count);
	if (count)
		memcpy(n->list.items, items, count * sizeof(*items));
	free(items);
	return ok;
}

static bool read_member(struct reader *r, struct node_member *m)
{
	skip_blanks(r);
	m->line = r->line;
	m->column = (int)(r->at - r->line_start) + 1;
	if (!read_string(r, &m->key))
		return false;
	skip_blanks(r);
	if (!take(r, ':'))
		return bad(r, "':' is expected");
	return (m->value = read_value(r)) != NULL;
}

static bool read_map(struct reader *r, struct node *n)
{
	struct node_member *members = NULL;
	size_t count = 0, cap = 0;
	bool ok = true;
	r->at++;
	skip_blanks(r);
	if (!take(r, '}')) {
		do {
			struct node_member m = {0};
			ok = (count < NODE_MAX_MEMBERS || bad(r, "too many entries")) && read_member(r, &m);
			size_t i = 0;
			while (i < count && !slice_eq(members[i].key, m.key))
				i++;
			if (i == count)
				members = xgrow(members, count++, &cap, sizeof(*members));
			members[i] = m;
			skip_blanks(r);
		} while (ok && take(r, ','));
		ok = ok && (take(r, '}') || bad(r, "',' or '}' is expected"));
	}
	n->map.count = count;
	n->map.members = arena_array(r->arena, struct node_member, count);
	if (count)
		memcpy(n->map.members, members, count * sizeof(*members));
	free(members);
	return ok;
}

static struct node *read_value(struct reader *r)
{
	skip_blanks(r);
	if (r->at == r->end)
		return bad(r, "unexpected end");
	struct node *n = arena_calloc(r->arena, sizeof(*n));
	n->line = r->line;
	n->column = (int)(r->at - r->line_start) + 1;
	if (++r->depth > NODE_MAX_DEPTH)
		return bad(r, "nested too deeply");
	bool ok = true;
	char c = *r->at;
	if (c == '{') {
		n->kind = NODE_MAP;
		ok = read_map(r, n);
	} else if (c == '[') {
		n->kind = NODE_LIST;
		ok = read_list(r, n);
	} else if (c == '"') {
		n->kind = NODE_STRING;
		ok = read_string(r, &n->text);
	} else if (take_word(r, "true") || take_word(r, "false")) {
		n->kind = NODE_BOOLEAN;
		n->boolean = c == 't';
	} else if (!take_word(r, "null")) {
		n->kind = NODE_NUMBER;
		ok = read_number(r, &n->number);
	}
	r->depth--;
	return ok ? n : NULL;
}

const struct node *node_from_json(struct slice text, struct arena *arena, struct findings *d)
{
	struct reader r = {
	        .at = text.p,
	        .end = text.p + text.n,
	        .line_start = text.p,
	        .line = 1,
	        .arena = arena,
	        .d = d,
	};
	if (text.n >= 3 && memcmp(text.p, "\xEF\xBB\xBF", 3) == 0)
		r.at += 3;
	const struct node *root = read_value(&r);
	skip_blanks(&r);
	if (root && r.at < r.end)
		bad(&r, "text after the end of the document");
	if (d->error_count || (root && root->kind == NODE_NULL))
		return NULL;
	return root;
}
