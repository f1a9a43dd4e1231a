/* reading_world.h: a real server (PG_URI; tests are skipped without) to read tables and follow changes of. */
#ifndef TESTS_UNIT_SOURCE_READING_WORLD_H
#define TESTS_UNIT_SOURCE_READING_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "pg_fixture.h"
#include "base/clock.h"
#include "source/postgres/link.h"

static struct fixture f;
static bool have_server;

#define NEED_SERVER()                                                                                                            \
	do {                                                                                                                     \
		if (!have_server)                                                                                                \
			skip();                                                                                                  \
	} while (0)

#define assert_ok(call)                                                                                                          \
	do {                                                                                                                     \
		if (!(call))                                                                                                     \
			fail_msg("%s", err.message);                                                                             \
	} while (0)

static inline struct source_connection *connect_ok(void)
{
	struct error err = {0};
	struct source_connection *c = source_connect(f.source, &err);
	if (!c)
		fail_msg("%s", err.message);
	return c;
}

static inline struct source_table *describe(struct source_connection *c, const char *name)
{
	struct error err = {0};
	struct source_table *t;
	size_t n;
	struct source_pattern p = {.schema = SLICE("public"), .table = slice_cstr(name)};
	assert_ok(source_discover(c, &p, 1, &f.arena, &t, &n, &err));
	assert_int_equal(n, 1);
	return t;
}

static inline void put_raw(struct buf *out, const struct raw_value *v)
{
	if (v->kind == RAW_NULL)
		buf_lit(out, "NULL");
	else if (v->kind == RAW_UNCHANGED)
		buf_lit(out, "?");
	else
		buf_slice_append(out, v->text);
}

static inline void put_row(struct buf *out, const struct raw_value *row, size_t columns)
{
	for (size_t i = 0; i < columns; i++) {
		if (i)
			buf_putc(out, ',');
		put_raw(out, &row[i]);
	}
}

#endif
