/*
 * request_news.c: who is concerned by checkpoint requests that other processes stored, and by checkpoints (requests.h).
 *
 * The watcher (watch.h) hears of heads. After its connection was cut: heads that are not passed are read anew, and all users with a stream here
 * look again, because what was told in between is lost.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/codec.h"
#include "storage/digest.h"
#include "storage/postgres/requests_internal.h"

/* The watcher does not wait longer for an answer. */
#define ANSWER_MS 2000
/* Heads at or below the served position that may stay in the list. */
#define PASSED_HEADS_MAX 1024

/* ---- known heads ------------------------------------------------------------------------------------------------------------------- */

/* Heads come in order, or nearly. */
void known_head_add(struct pg_requests *r, struct position head, int64_t id)
{
	pthread_mutex_lock(&r->lock);
	r->heads = xgrow(r->heads, r->head_count, &r->head_cap, sizeof(*r->heads));
	size_t at = r->head_count++;
	for (; at && position_cmp(r->heads[at - 1].head, head) > 0; at--)
		r->heads[at] = r->heads[at - 1];
	r->heads[at] = (struct known_head){head, id};
	pthread_mutex_unlock(&r->lock);
}

/* Index of the first one beyond the position. The lock is held. */
static size_t heads_beyond(const struct pg_requests *r, struct position p)
{
	size_t from = 0, to = r->head_count;
	while (from < to) {
		size_t middle = from + (to - from) / 2;
		if (position_cmp(r->heads[middle].head, p) <= 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

static bool any_head(struct pg_requests *r, struct position after, struct position up_to)
{
	pthread_mutex_lock(&r->lock);
	bool any = heads_beyond(r, after) < heads_beyond(r, up_to);
	pthread_mutex_unlock(&r->lock);
	return any;
}

/* Those that were passed are not looked for again. */
static void heads_trim(struct pg_requests *r, struct position served)
{
	pthread_mutex_lock(&r->lock);
	size_t passed = heads_beyond(r, served);
	if (passed > PASSED_HEADS_MAX) {
		memmove(r->heads, r->heads + passed, (r->head_count - passed) * sizeof(*r->heads));
		r->head_count -= passed;
	}
	pthread_mutex_unlock(&r->lock);
}

bool pg_position_acknowledges(struct storage *s, struct position position)
{
	struct served p = storage_served(s);
	pthread_mutex_lock(&s->lock);
	struct position wanted = s->wanted;
	pthread_mutex_unlock(&s->lock);
	if (!p.valid || position_cmp(position, p.position) <= 0)
		return false;
	return (position_cmp(wanted, p.position) > 0 && position_cmp(wanted, position) <= 0) ||
	       any_head(pg_requests_of(s), p.position, position);
}

/* ---- whose they are ---------------------------------------------------------------------------------------------------------------- */

static bool add_users(struct user_list *l, struct slice users)
{
	struct decoder d = decoder_of(users);
	while (!d.bad && d.p < d.end)
		user_list_add(l, decode_text(&d));
	return !d.bad;
}

/* Users of the rows, and how long ago they were stored, for the histogram: each process counts its own requests. */
static bool take_rows(struct pg_requests *r, const PGresult *rows, struct user_list *l)
{
	bool good = true;
	for (int i = 0; i < PQntuples(rows); i++) {
		size_t before = l->count;
		good &= add_users(l, slice_make(PQgetvalue(rows, i, 0), (size_t)PQgetlength(rows, i, 0)));
		if ((int64_t)be64_get(PQgetvalue(rows, i, 1)) >> 32 != r->tag)
			continue;
		int64_t age = (int64_t)be64_get(PQgetvalue(rows, i, 2));
		for (size_t k = before; k < l->count; k++)
			requests_note_latency(r->s, r->s->wall_ms() - age);
	}
	return good;
}

#define HEAD_ROWS                                                                                                                \
	"SELECT users, id, (extract(epoch FROM clock_timestamp() - stored_at) * 1000)::bigint FROM syncline_request_heads"

static PGresult *query_two(struct pg_conn *c, const char *sql, uint64_t a, int64_t b, struct error *err)
{
	char x[24], y[24];
	snprintf(x, sizeof(x), "%llu", (unsigned long long)a);
	snprintf(y, sizeof(y), "%lld", (long long)b);
	const char *values[] = {x, y};
	return pg_prepared(c, sql, &(struct pg_values){.count = 2, .values = values, .binary_result = true}, ANSWER_MS, err);
}

bool pg_requests_passed(struct pg_store *store, struct pg_conn *c, struct position after, struct position up_to,
                        struct arena *arena, const struct user_key **users, size_t *count, struct error *err)
{
	static const char sql[] = HEAD_ROWS " WHERE lsn > $1::bigint AND lsn <= $2::bigint";
	struct pg_requests *r = pg_requests_of(store->s);
	struct user_list l = {.count = 0};
	*users = NULL;
	*count = 0;
	if (!any_head(r, after, up_to))
		return true;
	PGresult *rows = query_two(c, sql, after.lsn, (int64_t)up_to.lsn, err);
	bool ok = rows &&
	          (take_rows(r, rows, &l) || error_set(err, "PSYNC_S2404", "a row of syncline_request_heads cannot be read"));
	PQclear(rows);
	if (ok && l.count) {
		struct user_key *all = arena_array(arena, struct user_key, l.count);
		for (size_t i = 0; i < l.count; i++) {
			all[i].subject = arena_copy(arena, l.items[i].subject);
			all[i].client_id = l.items[i].client_id;
			if (l.items[i].client_id.p)
				all[i].client_id = arena_copy(arena, l.items[i].client_id);
		}
		*users = all;
		*count = l.count;
	}
	user_list_free(&l);
	if (ok)
		heads_trim(r, up_to);
	return ok;
}

/* ---- what is heard ----------------------------------------------------------------------------------------------------------------- */

static void everybody_looks(struct pg_requests *r)
{
	struct storage_news news = {.checkpoint = storage_checkpoint(r->s), .all_users = true, .only_users = true};
	storage_tell(r->s, &news);
}

void pg_requests_answering(struct pg_requests *r)
{
	if (atomic_exchange(&r->look_again, false))
		everybody_looks(r);
}

/* A head that was passed already when it was stored: no checkpoint comes for it. */
static void tell_at_once(struct pg_requests *r, struct pg_conn *c, struct position head, int64_t id)
{
	static const char sql[] = HEAD_ROWS " WHERE lsn = $1::bigint AND id = $2::bigint";
	struct user_list l = {.count = 0};
	struct error err = {.code = ""};
	PGresult *rows = query_two(c, sql, head.lsn, id, &err);
	if (rows && take_rows(r, rows, &l)) {
		user_list_tell(r->s, &l);
	} else {
		log_warn(r->s->log, "Whose checkpoint requests were acknowledged cannot be read: %s", err.message);
		everybody_looks(r);
	}
	PQclear(rows);
	user_list_free(&l);
}

void pg_requests_heard(struct pg_requests *r, struct pg_conn *c, const char *payload)
{
	unsigned long long lsn;
	long long id;
	if (strcmp(payload, "waiting") == 0)
		atomic_store(&r->heads_wait, true);
	if (sscanf(payload, "head %llu %lld", &lsn, &id) != 2 || id >> 32 == r->tag)
		return;
	struct position head = {0, lsn};
	known_head_add(r, head, id);
	struct served p = storage_served(r->s);
	if (p.valid && position_cmp(head, p.position) <= 0)
		tell_at_once(r, c, head, id);
}

/* ---- the connection listens anew ------------------------------------------------------------------------------------------------------ */

/* All that are not passed. */
static bool load_heads(struct pg_requests *r, struct pg_conn *c, struct error *err)
{
	struct served p = storage_served(r->s);
	char after[24];
	snprintf(after, sizeof(after), "%llu", (unsigned long long)(p.valid ? p.position.lsn : 0));
	PGresult *rows = pg_query(c, "SELECT lsn, id FROM syncline_request_heads WHERE lsn > $1::bigint ORDER BY lsn, id", 1,
	                          (const char *const[]){after}, PG_TIMEOUT_MS, err);
	if (!rows)
		return false;
	pthread_mutex_lock(&r->lock);
	r->head_count = 0;
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < PQntuples(rows); i++)
		known_head_add(r, (struct position){0, strtoull(PQgetvalue(rows, i, 0), NULL, 10)},
		               strtoll(PQgetvalue(rows, i, 1), NULL, 10));
	PQclear(rows);
	return true;
}

static bool was_adopted(void *ctx, size_t index, struct pg_user *u)
{
	(void)ctx;
	(void)index;
	return u->adopted;
}

/* Requests that the reference stored, and that were not passed when it stopped, are heads like any others from now on. */
static bool adopt_pending(struct pg_requests *r, struct pg_conn *c, struct error *err)
{
	static const char sql[] =
	        "SELECT user_id FROM write_checkpoints WHERE lsns ->> '1' COLLATE \"C\" > coalesce((SELECT last_checkpoint_lsn"
	        " FROM sync_rules WHERE state IN ('ACTIVE', 'ERRORED') ORDER BY id DESC LIMIT 1), '') LIMIT 100000";
	const struct users_edit edit = {.r = r, .change = was_adopted};
	PGresult *rows = pg_query(c, sql, 0, NULL, PG_TIMEOUT_MS, err);
	struct arena arena = {0};
	if (!rows)
		return false;
	struct slice *keys = arena_array(&arena, struct slice, (size_t)PQntuples(rows) + 1);
	for (int i = 0; i < PQntuples(rows); i++) {
		struct buf key = {0};
		pg_user_of_text(&key, slice_make(PQgetvalue(rows, i, 0), (size_t)PQgetlength(rows, i, 0)));
		keys[i] = arena_copy(&arena, buf_slice(&key));
		buf_free(&key);
	}
	bool ok = users_edit(&edit, keys, (size_t)PQntuples(rows), err);
	PQclear(rows);
	arena_free(&arena);
	return ok;
}

bool pg_requests_listening(struct pg_requests *r, struct pg_conn *c, struct error *err)
{
	if (!load_heads(r, c, err) || !adopt_pending(r, c, err))
		return false;
	atomic_store(&r->heads_wait, true);
	everybody_looks(r);
	return true;
}

/* ---- opening and closing -------------------------------------------------------------------------------------------------------------- */

struct pg_requests *pg_requests_new(struct pg_store *store)
{
	struct pg_requests *r = xcalloc(1, sizeof(*r));
	uint8_t random[32];
	char text[UUID_TEXT + 1];
	r->store = store;
	r->s = store->s;
	pthread_mutex_init(&r->lock, NULL);
	uuid_random_text(text);
	sha256_slices(&(struct slice){text, UUID_TEXT}, 1, random);
	r->tag = be32_get(random) & 0x7fffffff;
	return r;
}

void pg_requests_free(struct pg_requests *r)
{
	if (!r)
		return;
	free(r->heads);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
