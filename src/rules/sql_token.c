/* sql_token.c: the lexer. */
#include "rules/sql_token.h"

#include <string.h>

struct word {
	struct slice text;
	enum sql_word id;
	bool reserved;
};

static const struct word words[] = {
#define W(id, text, is_reserved) {SLICE_INIT(#text), SQL_WORD_##id, is_reserved},
        SQL_WORDS(W)
#undef W
};

#define LONGEST_WORD 17

struct lexer {
	struct slice sql;
	size_t at;
	struct arena *arena;
	struct sql_token *items;
	size_t count, cap, max;
	struct sql_range *bad;
	const char **message;
};

static bool fail_range(struct lexer *l, size_t start, size_t end, const char *message)
{
	*l->bad = (struct sql_range){(uint32_t)start, (uint32_t)end};
	*l->message = message;
	return false;
}

/* The character at start is the offending one. */
static bool fail(struct lexer *l, size_t start, const char *message)
{
	size_t end = start < l->sql.n ? start + 1 : start;
	while (end < l->sql.n && ((uint8_t)l->sql.p[end] & 0xc0) == 0x80)
		end++;
	return fail_range(l, start, end, message);
}

static char peek(const struct lexer *l, size_t ahead)
{
	return l->at + ahead < l->sql.n ? l->sql.p[l->at + ahead] : '\0';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_word_part(char c)
{
	return is_word_start(c) || is_digit(c);
}

static bool add_token(struct lexer *l, struct sql_token token, size_t start)
{
	token.range = (struct sql_range){(uint32_t)start, (uint32_t)l->at};
	if (l->count >= l->max)
		return fail_range(l, start, l->at, "the query has too many tokens");
	l->items = arena_grow(l->arena, l->items, l->count, &l->cap, sizeof(*l->items));
	l->items[l->count++] = token;
	return true;
}

/* Comments nest. */
static bool skip_comment(struct lexer *l)
{
	size_t start = l->at, depth = 0;
	do {
		if (l->at + 1 >= l->sql.n)
			return fail(l, start, "unterminated comment");
		if (peek(l, 0) == '/' && peek(l, 1) == '*') {
			depth++;
			l->at += 2;
		} else if (peek(l, 0) == '*' && peek(l, 1) == '/') {
			depth--;
			l->at += 2;
		} else {
			l->at++;
		}
	} while (depth);
	return true;
}

static bool skip_blanks(struct lexer *l)
{
	while (l->at < l->sql.n) {
		char c = l->sql.p[l->at];
		if (c == ' ' || (c >= '\t' && c <= '\r')) {
			l->at++;
		} else if (c == '-' && peek(l, 1) == '-') {
			while (l->at < l->sql.n && l->sql.p[l->at] != '\n' && l->sql.p[l->at] != '\r')
				l->at++;
		} else if (c == '/' && peek(l, 1) == '*') {
			if (!skip_comment(l))
				return false;
		} else {
			break;
		}
	}
	return true;
}

/* '...' with '' for a quote. The text points into the SQL if there is none. */
static bool string_token(struct lexer *l)
{
	size_t start = l->at++, doubled = 0;
	for (;;) {
		const char *quote = l->at < l->sql.n ? memchr(l->sql.p + l->at, '\'', l->sql.n - l->at) : NULL;
		if (!quote)
			return fail(l, start, "unterminated string");
		l->at = (size_t)(quote - l->sql.p) + 1;
		if (peek(l, 0) != '\'' || l->at >= l->sql.n)
			break;
		doubled++;
		l->at++;
	}
	struct slice text = slice_make(l->sql.p + start + 1, l->at - start - 2);
	if (doubled) {
		char *p = arena_bytes(l->arena, text.n - doubled);
		size_t n = 0;
		for (size_t i = 0; i < text.n; i++) {
			p[n++] = text.p[i];
			if (text.p[i] == '\'')
				i++;
		}
		text = slice_make(p, n);
	}
	return add_token(l, (struct sql_token){.kind = SQL_TOKEN_STRING, .text = text}, start);
}

/* E'...': the escapes are few, and a quote can only be written in the other form of string. */
static bool escape_string_token(struct lexer *l)
{
	static const char from[] = "ntrbf\\/\" ", to[] = "\n\t\r\b\f\\/\" ";
	size_t start = l->at, n = 0;
	const char *quote = memchr(l->sql.p + l->at + 2, '\'', l->sql.n - l->at - 2);
	if (!quote)
		return fail(l, start, "unterminated string");
	char *p = arena_bytes(l->arena, (size_t)(quote - l->sql.p) - l->at);
	for (l->at += 2; l->sql.p[l->at] != '\''; l->at++) {
		char c = l->sql.p[l->at];
		if (c == '\\') {
			const char *escape = peek(l, 1) ? strchr(from, peek(l, 1)) : NULL;
			if (!escape)
				return fail(l, l->at, "unsupported escape in a string");
			c = to[escape - from];
			l->at++;
		}
		p[n++] = c;
	}
	l->at++;
	return add_token(l, (struct sql_token){.kind = SQL_TOKEN_ESCAPE_STRING, .text = {p, n}}, start);
}

/* "..." may not be empty or contain a star; a doubled quote stays two characters. */
static bool quoted_token(struct lexer *l)
{
	size_t start = l->at++;
	for (;; l->at++) {
		if (l->at >= l->sql.n)
			return fail(l, start, "unterminated quoted name");
		char c = l->sql.p[l->at];
		if (c == '*')
			return fail(l, start, "a quoted name may not contain '*'");
		if (c != '"')
			continue;
		if (peek(l, 1) != '"' || l->at == start + 1)
			break;
		l->at++;
	}
	l->at++;
	struct slice text = slice_make(l->sql.p + start + 1, l->at - start - 2);
	if (text.n == 0)
		return fail(l, start, "a quoted name may not be empty");
	return add_token(l, (struct sql_token){.kind = SQL_TOKEN_QUOTED, .text = text}, start);
}

/* A '-' may stand before it: it belongs to the number. */
static bool at_number(const struct lexer *l)
{
	size_t sign = peek(l, 0) == '-';
	return is_digit(peek(l, sign)) || (peek(l, sign) == '.' && is_digit(peek(l, sign + 1)));
}

static bool number_token(struct lexer *l)
{
	size_t start = l->at;
	bool decimal = false;
	if (peek(l, 0) == '-')
		l->at++;
	while (is_digit(peek(l, 0)))
		l->at++;
	if (peek(l, 0) == '.') {
		decimal = true;
		l->at++;
		while (is_digit(peek(l, 0)))
			l->at++;
	}
	struct slice text = slice_make(l->sql.p + start, l->at - start);
	return add_token(l, (struct sql_token){.kind = decimal ? SQL_TOKEN_DECIMAL : SQL_TOKEN_INTEGER, .text = text}, start);
}

static bool word_token(struct lexer *l)
{
	size_t start = l->at;
	bool upper = false;
	for (; l->at < l->sql.n && is_word_part(l->sql.p[l->at]); l->at++)
		upper |= l->sql.p[l->at] >= 'A' && l->sql.p[l->at] <= 'Z';
	struct sql_token token = {.kind = SQL_TOKEN_WORD, .text = slice_make(l->sql.p + start, l->at - start)};
	if (upper) {
		char *p = arena_bytes(l->arena, token.text.n);
		for (size_t i = 0; i < token.text.n; i++) {
			char c = token.text.p[i];
			p[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
		}
		token.text.p = p;
	}
	/* N'..', X'..' and B'..' are strings of PostgreSQL that the dialect does not have. */
	if (token.text.n == 1 && peek(l, 0) == '\'' && strchr("nxb", token.text.p[0]))
		return fail_range(l, start, l->at, "this kind of string is not supported");
	for (size_t i = 0; token.text.n <= LONGEST_WORD && i < sizeof(words) / sizeof(words[0]); i++) {
		if (slice_eq(words[i].text, token.text)) {
			token.word = words[i].id;
			token.reserved = words[i].reserved;
			break;
		}
	}
	return add_token(l, token, start);
}

static bool parameter_token(struct lexer *l)
{
	size_t start = l->at++;
	while (is_digit(peek(l, 0)))
		l->at++;
	struct slice text = slice_make(l->sql.p + start, l->at - start);
	return add_token(l, (struct sql_token){.kind = SQL_TOKEN_PARAMETER, .text = text}, start);
}

/* The longest operator of the dialect's list. */
static bool operator_token(struct lexer *l)
{
	static const char *const operators[] = {
	        "!~*", "->>", "#>>", "->", "#>", "#-", "@>", "<@", "?|", "?&", "<<", ">>", "~*", "!~", "@@",
	        "&&",  "||",  "<=",  ">=", "<>", "!=", "::", "?",  "=",  "<",  ">",  "+",  "-",  "*",  "/",
	        "%",   "^",   "|",   "&",  "#",  "~",  "(",  ")",  "[",  "]",  ",",  ".",  ";",  ":",
	};
	for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++) {
		size_t n = strlen(operators[i]);
		if (l->sql.n - l->at < n || memcmp(l->sql.p + l->at, operators[i], n) != 0)
			continue;
		size_t start = l->at;
		l->at += n;
		uint32_t op = 0;
		for (size_t k = 0; k < n; k++)
			op |= (uint32_t)(uint8_t)operators[i][k] << (8 * k);
		if (op == SQL_OPERATOR("<>"))
			op = SQL_OPERATOR("!=");
		struct slice text = slice_make(l->sql.p + start, n);
		return add_token(l, (struct sql_token){.kind = SQL_TOKEN_OPERATOR, .op = op, .text = text}, start);
	}
	return fail(l, l->at, "unexpected character");
}

static bool next_token(struct lexer *l)
{
	char c = l->sql.p[l->at];
	if (c == '\'')
		return string_token(l);
	if ((c == 'e' || c == 'E') && peek(l, 1) == '\'')
		return escape_string_token(l);
	if (c == '"')
		return quoted_token(l);
	if (at_number(l))
		return number_token(l);
	if (is_word_start(c))
		return word_token(l);
	if (c == '$' && is_digit(peek(l, 1)))
		return parameter_token(l);
	return operator_token(l);
}

bool sql_tokenize(struct slice sql, size_t max_tokens, struct arena *arena, struct sql_tokens *out, struct sql_range *bad,
                  const char **message)
{
	struct lexer l = {.sql = sql, .arena = arena, .max = max_tokens, .bad = bad, .message = message};
	for (;;) {
		if (!skip_blanks(&l))
			return false;
		if (l.at >= sql.n)
			break;
		if (!next_token(&l))
			return false;
	}
	if (!add_token(&l, (struct sql_token){.kind = SQL_TOKEN_END, .text = {sql.p + sql.n, 0}}, sql.n))
		return false;
	*out = (struct sql_tokens){l.items, l.count};
	return true;
}
