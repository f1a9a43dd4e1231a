/* copy_text.c: see copy_text.h. */
#include "source/postgres/copy_text.h"

static int octal(char c)
{
	return c >= '0' && c <= '7' ? c - '0' : -1;
}

static int hexadecimal(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte after a backslash; the server writes letters only, octal and hexadecimal forms are for completeness. */
static char unescape(const char **at, const char *end)
{
	const char *p = *at;
	char c = *p++;
	switch (c) {
	case 'b':
		c = '\b';
		break;
	case 'f':
		c = '\f';
		break;
	case 'n':
		c = '\n';
		break;
	case 'r':
		c = '\r';
		break;
	case 't':
		c = '\t';
		break;
	case 'v':
		c = '\v';
		break;
	case 'x':
		if (p < end && hexadecimal(*p) >= 0) {
			int v = hexadecimal(*p++);
			if (p < end && hexadecimal(*p) >= 0)
				v = v * 16 + hexadecimal(*p++);
			c = (char)v;
		}
		break;
	default:
		if (octal(c) >= 0) {
			int v = octal(c);
			for (int i = 0; i < 2 && p < end && octal(*p) >= 0; i++)
				v = v * 8 + octal(*p++);
			c = (char)v;
		}
	}
	*at = p;
	return c;
}

/* first: the first backslash of the field. */
static size_t unescape_field(char *field, char *first, const char *end)
{
	char *to = first;
	const char *from = first;
	while (from < end) {
		if (*from != '\\' || from + 1 == end) {
			*to++ = *from++;
			continue;
		}
		from++;
		*to++ = unescape(&from, end);
	}
	return (size_t)(to - field);
}

bool copy_text_row(struct slice line, struct arena *arena, struct raw_value *values, size_t count)
{
	if (line.n && line.p[line.n - 1] == '\n')
		line.n--;
	char *at = (char *)arena_copy(arena, line).p;
	char *end = at + line.n;
	if (count == 0)
		return line.n == 0;
	/* A backslash inside the data is written as two and a null as one with an N, so a row without any has no field to look into. */
	char *slash = line.n ? memchr(at, '\\', line.n) : NULL;
	for (size_t i = 0; i < count; i++) {
		char *stop = at < end ? memchr(at, '\t', (size_t)(end - at)) : NULL;
		if (!stop != (i + 1 == count))
			return false;
		if (!stop)
			stop = end;
		values[i] = (struct raw_value){.kind = RAW_TEXT, .text = slice_make(at, (size_t)(stop - at))};
		if (slash && slash < stop) {
			if (stop - at == 2 && at[0] == '\\' && at[1] == 'N')
				values[i] = (struct raw_value){.kind = RAW_NULL};
			else
				values[i].text.n = unescape_field(at, slash, stop);
			slash = memchr(stop, '\\', (size_t)(end - stop));
		}
		at = stop + 1;
	}
	return true;
}
