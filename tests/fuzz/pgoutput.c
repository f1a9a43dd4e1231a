/* pgoutput.c: the decoder of replication messages on arbitrary bytes. What is accepted must lie inside the message. */
#include <stdlib.h>

#include "source/postgres/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice whole, struct slice part)
{
	if (part.n && (part.p < whole.p || part.p + part.n > whole.p + whole.n) && !slice_eq(part, SLICE("pg_catalog")))
		abort();
}

static void check_row(struct slice whole, const struct raw_value *row, size_t count)
{
	for (size_t i = 0; row && i < count; i++)
		if (row[i].kind == RAW_TEXT)
			inside(whole, row[i].text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	struct pgoutput_event e;
	struct error err;
	struct slice whole = slice_make(data, size);
	arena_reset(&arena);
	if (!pgoutput_decode(whole, &arena, &e, &err))
		return 0;
	check_row(whole, e.event.new_row, e.new_count);
	check_row(whole, e.event.old_row, e.old_count);
	inside(whole, e.event.relation.schema);
	inside(whole, e.event.relation.name);
	for (size_t i = 0; i < e.event.relation.column_count; i++)
		inside(whole, e.event.relation.columns[i].name);
	if (e.event.truncated_count > size / 4)
		abort();
	return 0;
}
