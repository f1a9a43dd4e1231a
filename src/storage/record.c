/* record.c: the format of row records (record.h). */
#include "storage/record.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"

enum { RECORD_INCOMPLETE = 1, RECORD_IMAGE = 2, RECORD_UUID_ALONE = 4 };

void row_record_free(struct row_record *r)
{
	free(r->contributions);
	free(r->lookups);
	buf_free(&r->bytes);
	*r = (struct row_record){0};
}

void row_record_clear(struct row_record *r)
{
	r->found = r->incomplete = r->has_image = r->uuid_alone = false;
	r->epoch = 0;
	r->uuid = NULL;
	r->contribution_count = r->lookup_count = 0;
}

static void decode_contribution(struct decoder *d, struct contribution *c, struct slice *previous_id)
{
	c->bucket = (uint32_t)decode_varint(d);
	c->type = (uint32_t)decode_varint(d);
	uint64_t n = decode_varint(d);
	if (n)
		*previous_id = decode_bytes(d, n - 1);
	c->object_id = *previous_id;
	c->digest = (const uint8_t *)decode_bytes(d, RECORD_DIGEST).p;
}

bool row_record_decode(struct row_record *r, struct slice record, struct error *err)
{
	row_record_clear(r);
	buf_clear(&r->bytes);
	buf_append(&r->bytes, record.p, record.n);
	struct decoder d = decoder_of(buf_slice(&r->bytes));
	uint8_t flags = decode_u8(&d);
	r->found = true;
	r->incomplete = flags & RECORD_INCOMPLETE;
	r->has_image = flags & RECORD_IMAGE;
	r->uuid_alone = flags & RECORD_UUID_ALONE;
	r->epoch = decode_varint(&d);
	r->uuid = (const uint8_t *)decode_bytes(&d, 16).p;
	struct slice previous_id = {"", 0};
	for (uint64_t n = decode_varint(&d); n > 0 && !d.bad; n--) {
		r->contributions =
		        xgrow(r->contributions, r->contribution_count, &r->contribution_cap, sizeof(*r->contributions));
		decode_contribution(&d, &r->contributions[r->contribution_count++], &previous_id);
	}
	for (uint64_t n = decode_varint(&d); n > 0 && !d.bad; n--) {
		r->lookups = xgrow(r->lookups, r->lookup_count, &r->lookup_cap, sizeof(*r->lookups));
		struct record_lookup *l = &r->lookups[r->lookup_count++];
		l->definition = (uint32_t)decode_varint(&d);
		l->key = decode_text(&d);
		l->digest = (const uint8_t *)decode_bytes(&d, RECORD_DIGEST).p;
	}
	if (d.bad || d.p != d.end)
		return error_set(err, "PSYNC_S2404", "the store is damaged: a row record cannot be read");
	return true;
}

void record_put_head(struct buf *out, const struct record_head *h)
{
	buf_putc(out, (char)((h->incomplete ? RECORD_INCOMPLETE : 0) | (h->has_image ? RECORD_IMAGE : 0) |
	                     (h->uuid_alone ? RECORD_UUID_ALONE : 0)));
	buf_varint(out, h->epoch);
	buf_append(out, h->uuid, 16);
}

void record_put_contribution(struct buf *out, const struct contribution *c, struct slice *previous_id)
{
	buf_varint(out, c->bucket);
	buf_varint(out, c->type);
	if (previous_id->p && slice_eq(*previous_id, c->object_id)) {
		buf_varint(out, 0);
	} else {
		buf_varint(out, c->object_id.n + 1);
		buf_append(out, c->object_id.p, c->object_id.n);
		*previous_id = c->object_id;
		if (!previous_id->p)
			previous_id->p = "";
	}
	buf_append(out, c->digest, RECORD_DIGEST);
}

void record_put_lookup(struct buf *out, uint32_t definition, struct slice key, const uint8_t *digest)
{
	buf_varint(out, definition);
	buf_text(out, key);
	buf_append(out, digest, RECORD_DIGEST);
}
