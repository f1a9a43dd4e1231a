/* pgoutput.c: see pgoutput.h. */
#include "source/postgres/pgoutput.h"

#include "source/postgres/link.h"

/* Microseconds from 1970 to 2000, where PostgreSQL's clock starts. */
#define EPOCH_2000_US INT64_C(946684800000000)

struct reader {
	const unsigned char *at, *end;
	bool failed;
};

static const unsigned char *take(struct reader *r, size_t n)
{
	if (r->failed || (size_t)(r->end - r->at) < n) {
		r->failed = true;
		return NULL;
	}
	const unsigned char *p = r->at;
	r->at += n;
	return p;
}

static uint64_t take_number(struct reader *r, size_t bytes)
{
	const unsigned char *p = take(r, bytes);
	uint64_t v = 0;
	for (size_t i = 0; p && i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static struct slice take_text(struct reader *r)
{
	const unsigned char *end = r->failed ? NULL : memchr(r->at, 0, (size_t)(r->end - r->at));
	if (!end) {
		r->failed = true;
		return slice_make("", 0);
	}
	struct slice s = slice_make(r->at, (size_t)(end - r->at));
	r->at = end + 1;
	return s;
}

static int64_t take_time_ms(struct reader *r)
{
	int64_t us = (int64_t)take_number(r, 8);
	if (us > INT64_MAX - EPOCH_2000_US)
		r->failed = true;
	return r->failed ? 0 : (us + EPOCH_2000_US) / 1000;
}

static void begin(struct reader *r, struct stream_event *e)
{
	e->kind = STREAM_BEGIN;
	e->final_lsn = take_number(r, 8);
	e->commit_time_ms = take_time_ms(r);
	e->xid = (uint32_t)take_number(r, 4);
}

static void commit(struct reader *r, struct stream_event *e)
{
	e->kind = STREAM_COMMIT;
	if (take_number(r, 1) != 0) /* flags: none defined */
		r->failed = true;
	e->final_lsn = take_number(r, 8);
	e->lsn = take_number(r, 8);
	e->commit_time_ms = take_time_ms(r);
}

/* A column takes at least 10 bytes, so a count that the message cannot hold is refused before memory is taken for it. */
static void relation(struct reader *r, struct arena *arena, struct stream_event *e)
{
	e->kind = STREAM_RELATION;
	e->relation.oid = e->oid = (uint32_t)take_number(r, 4);
	e->relation.schema = take_text(r);
	if (e->relation.schema.n == 0) /* the protocol writes pg_catalog as an empty name */
		e->relation.schema = SLICE("pg_catalog");
	e->relation.name = take_text(r);
	e->relation.replica_identity = (char)take_number(r, 1);
	size_t count = take_number(r, 2);
	if (r->failed || count > (size_t)(r->end - r->at) / 10) {
		r->failed = true;
		return;
	}
	struct source_column *columns = arena_array(arena, struct source_column, count);
	for (size_t i = 0; i < count; i++) {
		columns[i] = (struct source_column){.in_key = take_number(r, 1) & 1};
		columns[i].name = take_text(r);
		columns[i].type_oid = (uint32_t)take_number(r, 4);
		columns[i].type_modifier = (int32_t)take_number(r, 4);
	}
	e->relation.columns = columns;
	e->relation.column_count = count;
}

static const struct raw_value *tuple(struct reader *r, struct arena *arena, size_t *count)
{
	*count = take_number(r, 2);
	if (r->failed || *count > (size_t)(r->end - r->at)) {
		r->failed = true;
		return NULL;
	}
	struct raw_value *row = arena_array(arena, struct raw_value, *count);
	for (size_t i = 0; i < *count && !r->failed; i++) {
		size_t n;
		row[i] = (struct raw_value){.kind = RAW_NULL};
		switch (take_number(r, 1)) {
		case 'n':
			break;
		case 'u':
			row[i].kind = RAW_UNCHANGED;
			break;
		case 't':
			row[i].kind = RAW_TEXT;
			n = take_number(r, 4);
			row[i].text = slice_make(take(r, n), n);
			break;
		default: /* binary is never asked for */
			r->failed = true;
		}
	}
	return row;
}

static void change(struct reader *r, char tag, struct arena *arena, struct pgoutput_event *out)
{
	struct stream_event *e = &out->event;
	e->kind = tag == 'I' ? STREAM_INSERT : tag == 'U' ? STREAM_UPDATE : STREAM_DELETE;
	e->oid = (uint32_t)take_number(r, 4);
	char part = (char)take_number(r, 1);
	if (tag != 'I' && (part == 'K' || part == 'O')) {
		e->old_is_key = part == 'K';
		e->old_row = tuple(r, arena, &out->old_count);
		if (tag == 'D')
			return;
		part = (char)take_number(r, 1);
	}
	if (tag == 'D' || part != 'N') {
		r->failed = true;
		return;
	}
	e->new_row = tuple(r, arena, &out->new_count);
}

static void truncate_tables(struct reader *r, struct arena *arena, struct stream_event *e)
{
	e->kind = STREAM_TRUNCATE;
	size_t count = take_number(r, 4);
	take_number(r, 1); /* CASCADE, RESTART IDENTITY: the server lists all tables anyway */
	if (r->failed || count > (size_t)(r->end - r->at) / 4) {
		r->failed = true;
		return;
	}
	uint32_t *oids = arena_array(arena, uint32_t, count);
	for (size_t i = 0; i < count; i++)
		oids[i] = (uint32_t)take_number(r, 4);
	e->truncated = oids;
	e->truncated_count = count;
}

static void message(struct reader *r, struct stream_event *e)
{
	e->kind = STREAM_MESSAGE;
	e->transactional = take_number(r, 1) & 1;
	e->lsn = take_number(r, 8);
	struct slice prefix = take_text(r);
	size_t n = take_number(r, 4);
	struct slice content = slice_make(take(r, n), n);
	e->marker = !r->failed && slice_eq(prefix, SLICE(MARKER_PREFIX)) && slice_eq(content, SLICE(MARKER_CONTENT));
}

bool pgoutput_decode(struct slice bytes, struct arena *arena, struct pgoutput_event *out, struct error *err)
{
	struct reader r = {(const unsigned char *)bytes.p, (const unsigned char *)bytes.p + bytes.n, false};
	*out = (struct pgoutput_event){0};
	char tag = (char)take_number(&r, 1);
	switch (tag) {
	case 'B':
		begin(&r, &out->event);
		break;
	case 'C':
		commit(&r, &out->event);
		break;
	case 'R':
		relation(&r, arena, &out->event);
		break;
	case 'I':
	case 'U':
	case 'D':
		change(&r, tag, arena, out);
		break;
	case 'T':
		truncate_tables(&r, arena, &out->event);
		break;
	case 'M':
		message(&r, &out->event);
		break;
	case 'Y': /* type: id, schema, name */
		take_number(&r, 4);
		take_text(&r);
		take_text(&r);
		out->ignored = true;
		break;
	case 'O': /* origin: LSN, name */
		take_number(&r, 8);
		take_text(&r);
		out->ignored = true;
		break;
	default:
		return error_set(err, "", bytes.n ? "unknown replication message 0x%02x" : "empty replication message",
		                 bytes.n ? (unsigned char)tag : 0);
	}
	if (r.failed || r.at != r.end)
		return error_set(err, "", "malformed replication message '%c' of %zu bytes", tag, bytes.n);
	return true;
}
