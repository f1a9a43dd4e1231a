/* request_listing.c: see request_listing.h. */
#include "storage/request_listing.h"

void request_listing_begin(struct request_listing *l)
{
	l->items = arena_array(l->arena, struct user_requests, l->filter->limit + 1);
}

static struct pending_request *list_pending(struct request_listing *l, const struct user_record *u, struct user_requests *out)
{
	struct pending_request *p = arena_array(l->arena, struct pending_request, u->count + 1);
	for (size_t i = 0; i < u->count; i++) {
		const struct association *e = &u->entries[i];
		if (l->served.valid && position_cmp(e->head, l->served.position) <= 0) {
			out->acknowledged_id = e->id;
			out->acknowledged_head = e->head;
			continue;
		}
		p[out->pending_count++] = (struct pending_request){e->id, true, e->generated, e->head, e->since};
	}
	if (u->unknown)
		p[out->pending_count++] = (struct pending_request){
		        .id = u->unknown, .generated = u->unknown_generated, .since_ms = u->unknown_since};
	return p;
}

bool request_listing_add(struct request_listing *l, struct slice key, const struct user_record *u)
{
	if (l->count == l->filter->limit) {
		l->more = true;
		return false;
	}
	struct user_requests *r = &l->items[l->count];
	*r = (struct user_requests){
	        .newest_id = user_greatest(u), .temporary = u->stamped, .stamp_ms = u->stamped ? u->stamp_ms : 0};
	if (!user_key_decode(arena_copy(l->arena, key), &r->user))
		return true;
	r->pending = list_pending(l, u, r);
	l->count++;
	return true;
}

bool request_filter_fits(const struct request_filter *f, const struct user_key *user)
{
	return (!f->subject.p || slice_eq(f->subject, user->subject)) &&
	       (!f->client_id.p || (user->client_id.p && slice_eq(f->client_id, user->client_id)));
}
