/* fixture.h: short ways to write values down and to check them. One arena for the whole program. */
#ifndef SYNCLINE_TEST_VALUE_FIXTURE_H
#define SYNCLINE_TEST_VALUE_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "value/functions.h"
#include "value/value.h"

static struct arena arena;

static inline struct value t(const char *text)
{
	return value_text(slice_cstr(text));
}
static inline struct value b(const char *bytes)
{
	return value_blob(slice_cstr(bytes));
}
#define I(x) value_integer(x)
#define R(x) value_real(x)
#define NIL value_null()
#define ABSENT ((struct value){.kind = VALUE_ABSENT})

static inline void check_slice(struct slice got, const char *want, const char *file, int line)
{
	if (!slice_eq(got, slice_cstr(want))) {
		print_error("got  %.*s\nwant %s\n", SLICE_ARG(got), want);
		_fail(file, line);
	}
}
#define assert_slice(got, want) check_slice((got), (want), __FILE__, __LINE__)

static inline const char *kind_name(enum value_kind kind)
{
	static const char *const names[] = {"absent", "unknown", "null", "integer", "real", "text", "blob"};
	return names[kind];
}

static inline void check_value(struct value got, struct value want, const char *file, int line)
{
	bool same = got.kind == want.kind;
	if (same && got.kind == VALUE_INTEGER)
		same = got.i == want.i;
	if (same && got.kind == VALUE_REAL)
		same = memcmp(&got.r, &want.r, sizeof(got.r)) == 0 || (isnan(got.r) && isnan(want.r));
	if (same && (got.kind == VALUE_TEXT || got.kind == VALUE_BLOB))
		same = slice_eq(got.s, want.s);
	if (!same) {
		struct slice g = value_text_form(&got, &arena), w = value_text_form(&want, &arena);
		print_error("got  %s %.*s\nwant %s %.*s\n", kind_name(got.kind), SLICE_ARG(g), kind_name(want.kind),
		            SLICE_ARG(w));
		_fail(file, line);
	}
}
#define assert_value(got, want) check_value((got), (want), __FILE__, __LINE__)

static inline int free_arena(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

#endif
