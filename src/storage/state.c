/*
 * state.c: the record that says how far the store is (META_STATE): format version u32 big-endian, then as state_encode writes it.
 */
#include "base/codec.h"
#include "storage/internal.h"

static void put_position(struct buf *b, struct position p)
{
	buf_varint(b, p.era);
	buf_varint(b, p.lsn);
}

static struct position get_position(struct decoder *d)
{
	struct position p;
	p.era = decode_varint(d);
	p.lsn = decode_varint(d);
	return p;
}

void state_encode(struct buf *b, const struct store_state *st)
{
	uint8_t version[4];
	be32_put(version, STORE_FORMAT_VERSION);
	buf_append(b, version, 4);
	buf_varint(b, st->op_seq);
	buf_putc(b, st->has_checkpoint);
	buf_varint(b, st->checkpoint_op);
	put_position(b, st->checkpoint_position);
	put_position(b, st->applied);
	buf_varint(b, st->active_plan);
	buf_varint(b, st->pending_plan);
	buf_varint(b, st->last_plan);
	buf_varint(b, st->epoch);
	buf_varint(b, st->last_table);
	buf_varint(b, st->last_definition);
	buf_varint(b, st->type_count);
	buf_text(b, slice_cstr(st->slot_name));
	buf_text(b, slice_cstr(st->system_id));
	buf_varint(b, st->boundary_op);
	put_position(b, st->partial_until);
	buf_varint(b, st->timeline); /* absent in stores of older builds */
	/* A program that does not know this leaves it out when it next writes, and with it what it does not maintain. */
	buf_varint(b, st->retired_count);
	for (size_t i = 0; i < st->retired_count; i++) {
		buf_varint(b, st->retired[i].plan);
		buf_varint(b, (uint64_t)st->retired[i].since_ms);
	}
	buf_varint(b, st->partial_mixed);
}

static bool decode_state(void *ctx, uint32_t number, struct slice value, struct error *err)
{
	struct store_state *st = ctx;
	if (number != META_STATE)
		return true;
	struct decoder d = decoder_of(value);
	struct slice version = decode_bytes(&d, 4);
	if (!d.bad && be32_get(version.p) > STORE_FORMAT_VERSION)
		return error_set(err, "PSYNC_S1005",
		                 "The store was written by a newer version of this program (format %u, this one knows %u)",
		                 be32_get(version.p), STORE_FORMAT_VERSION);
	if (!d.bad)
		st->format = be32_get(version.p);
	st->op_seq = decode_varint(&d);
	st->has_checkpoint = decode_u8(&d);
	st->checkpoint_op = decode_varint(&d);
	st->checkpoint_position = get_position(&d);
	st->applied = get_position(&d);
	st->active_plan = decode_varint(&d);
	st->pending_plan = decode_varint(&d);
	st->last_plan = decode_varint(&d);
	st->epoch = decode_varint(&d);
	st->last_table = (uint32_t)decode_varint(&d);
	st->last_definition = (uint32_t)decode_varint(&d);
	st->type_count = (uint32_t)decode_varint(&d);
	struct slice slot = decode_text(&d), system = decode_text(&d);
	st->boundary_op = decode_varint(&d);
	st->partial_until = get_position(&d);
	if (d.p < d.end)
		st->timeline = (uint32_t)decode_varint(&d);
	uint64_t retired = !d.bad && d.p < d.end ? decode_varint(&d) : 0;
	d.bad |= retired > MAX_RETIRED_PLANS;
	st->retired_count = d.bad ? 0 : (uint32_t)retired;
	for (size_t i = 0; i < st->retired_count; i++) {
		st->retired[i].plan = decode_varint(&d);
		st->retired[i].since_ms = (int64_t)decode_varint(&d);
	}
	st->partial_mixed = !d.bad && d.p < d.end && decode_varint(&d);
	if (d.bad || slot.n >= sizeof(st->slot_name) || system.n >= sizeof(st->system_id))
		return error_set(err, "PSYNC_S2404", "the store is damaged: its state record cannot be read");
	memcpy(st->slot_name, slot.p, slot.n);
	memcpy(st->system_id, system.p, system.n);
	return true;
}

bool state_load(struct storage *s, bool read_only, struct error *err)
{
	if (!s->backend->ops->small_each(s->backend, SMALL_META, decode_state, &s->state, err))
		return false;
	if (s->state.format && s->state.format < STORE_FORMAT_VERSION && !read_only) {
		if (s->keep_format)
			return error_set(err, "PSYNC_S1005",
			                 "the store has format %u, this program writes format %u, and "
			                 "migrations.disable_auto_migration is "
			                 "true: run 'syncline migrate up'",
			                 s->state.format, STORE_FORMAT_VERSION);
		if (!s->backend->ops->migrate(s->backend, s->state.format, err))
			return false;
		s->state.format = STORE_FORMAT_VERSION;
	}
	s->committed = s->state;
	/* Operations that no checkpoint showed yet: which buckets they are in is not known any more. */
	s->news.everything = s->state.op_seq > s->state.checkpoint_op;
	s->request_era = s->state.applied.era;
	checkpoint_publish(s);
	checkpoint_note_announced(s);
	if (s->state.has_checkpoint)
		checkpoint_sample(s);
	return true;
}
