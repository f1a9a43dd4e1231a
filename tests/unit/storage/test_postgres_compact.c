/* Compaction on the shared layout: what clients end up with does not change (storage-semantics 9). Without PG_URI the tests skip. */
#include "storage/postgres_world.h"

#include "storage/compact.h"

#define BUCKET "1#by_owner[\"u\"]"
enum { ROWS = 6, OPS_MAX = 200 };

struct op {
	uint64_t op_id;
	char kind; /* first letter of its name */
	int row;
	int64_t checksum;
	uint64_t target;
};

/* What a client holds: the last PUT of each row, and the sum of the rest. */
struct reduced {
	uint64_t put[ROWS];
	uint32_t sum[ROWS], rest;
};

static void apply(struct reduced *r, const struct op *o)
{
	uint32_t sum = (uint32_t)o->checksum;
	switch (o->kind) {
	case 'P':
		r->rest += r->put[o->row] ? r->sum[o->row] : 0;
		r->put[o->row] = o->op_id;
		r->sum[o->row] = sum;
		break;
	case 'R':
		r->rest += sum + (r->put[o->row] ? r->sum[o->row] : 0);
		r->put[o->row] = 0;
		r->sum[o->row] = 0;
		break;
	case 'M':
		r->rest += sum;
		break;
	default:
		*r = (struct reduced){.rest = sum};
	}
}

static size_t read_ops(struct world *w, struct op *out)
{
	PGresult *r = PQexec(w->sql, "SELECT op_id, op, row_id, checksum, target_op FROM bucket_data WHERE bucket_name = '" BUCKET
	                             "' ORDER BY op_id");
	size_t n = (size_t)PQntuples(r);
	assert_true(PQresultStatus(r) == PGRES_TUPLES_OK && n <= OPS_MAX);
	for (size_t i = 0; i < n; i++)
		out[i] = (struct op){strtoull(PQgetvalue(r, (int)i, 0), NULL, 10), PQgetvalue(r, (int)i, 1)[0],
		                     PQgetvalue(r, (int)i, 2)[0] ? atoi(PQgetvalue(r, (int)i, 2) + 1) : 0,
		                     strtoll(PQgetvalue(r, (int)i, 3), NULL, 10), strtoull(PQgetvalue(r, (int)i, 4), NULL, 10)};
	PQclear(r);
	return n;
}

static void stream(struct world *w, uint64_t checkpoint)
{
	char sql[300];
	look(w, "DELETE FROM sync_rules");
	snprintf(sql, sizeof(sql),
	         "INSERT INTO sync_rules (id, state, snapshot_done, last_checkpoint, last_checkpoint_lsn, content, "
	         "last_checkpoint_ts)"
	         " VALUES (1, 'ACTIVE', true, %llu, '00000000/00000064', '', now())",
	         (unsigned long long)checkpoint);
	look(w, sql);
}

static void write_op(struct world *w, const char *bucket, uint64_t op_id, char kind, int row)
{
	char sql[400];
	snprintf(sql, sizeof(sql),
	         "INSERT INTO bucket_data VALUES (1, '%s', %llu, '%s', 't', convert_to('k%d', 'UTF8'), 'notes', 'r%d', %u, %s)",
	         bucket, (unsigned long long)op_id, kind == 'P' ? "PUT" : "REMOVE", row, row, (unsigned)(op_id * 2654435761u),
	         kind == 'P' ? "'{}'" : "NULL");
	look(w, sql);
}

static struct compact_report compact(struct world *w, struct compact_options o)
{
	struct compact_report r;
	o.buckets = o.lookups = true;
	OK(storage_compact(w->a.s, &o, &r, &w->err));
	return r;
}

static const char *ops(struct world *w)
{
	return look(w, "SELECT string_agg(op_id || op || coalesce('>' || target_op, ''), ' ' ORDER BY op_id) FROM bucket_data"
	               " WHERE bucket_name = '" BUCKET "'");
}

static void superseded_operations_become_moves_and_the_leading_run_a_clear(void **state)
{
	NEEDS_POSTGRES;
	const char kinds[] = "PPPRPP";
	const int rows[] = {1, 2, 1, 2, 3, 1};
	for (size_t i = 0; i < 6; i++)
		write_op(w, BUCKET, i + 1, kinds[i], rows[i]);
	stream(w, 5);
	/* At 5: row 1 is newest at 3, row 2 is gone at 4. */
	struct compact_report r = compact(w, (struct compact_options){.margin_ms = 0});
	assert_string_equal(ops(w), "2CLEAR>4 3PUT 4REMOVE 5PUT 6PUT");
	assert_true(r.buckets == 1 && r.moved == 2 && r.cleared == 2);
	stream(w, 6);
	compact(w, (struct compact_options){.margin_ms = 0});
	assert_string_equal(ops(w), "4CLEAR>6 5PUT 6PUT");
	assert_string_equal(
	        look(w,
	             "SELECT sum(checksum)::bigint & 4294967295 = (SELECT sum(x * 2654435761 & 4294967295)::bigint & 4294967295"
	             " FROM generate_series(1::bigint, 6) x) FROM bucket_data"),
	        "t");
	compact(w, (struct compact_options){.margin_ms = 0});
	assert_string_equal(ops(w), "4CLEAR>6 5PUT 6PUT"); /* again changes nothing */
}

static void a_margin_keeps_what_clients_may_be_reading(void **state)
{
	NEEDS_POSTGRES;
	write_op(w, BUCKET, 1, 'P', 1);
	write_op(w, BUCKET, 2, 'P', 1);
	stream(w, 2);
	compact(w, (struct compact_options){.margin_ms = 60000});
	assert_string_equal(ops(w), "1PUT 2PUT"); /* nobody knows yet since when it is the checkpoint */
	look(w, "UPDATE syncline_checkpoints SET seen_at = now() - interval '2 minutes'");
	write_op(w, BUCKET, 3, 'P', 1);
	stream(w, 3);
	compact(w, (struct compact_options){.margin_ms = 60000});
	assert_string_equal(ops(w), "1CLEAR>2 2PUT 3PUT");
	look(w, "UPDATE sync_rules SET last_checkpoint_ts = now() - interval '2 minutes'");
	compact(w, (struct compact_options){.margin_ms = 60000});
	assert_string_equal(ops(w), "2CLEAR>3 3PUT");
}

static void only_buckets_with_enough_news_are_looked_into(void **state)
{
	NEEDS_POSTGRES;
	struct compact_options background = {.min_dead = 10, .min_share = 0.1};
	char name[40];
	for (int i = 0; i < 450; i++) { /* more than two pages */
		snprintf(name, sizeof(name), "1#b[\"%d\"]", i);
		write_op(w, name, (uint64_t)i + 1, 'P', 1);
	}
	for (uint64_t i = 0; i < 20; i++)
		write_op(w, BUCKET, 1000 + i, 'P', (int)i % 2);
	stream(w, 1100);
	struct compact_report r = compact(w, background);
	assert_true(r.buckets == 1 && r.moved == 18);
	write_op(w, BUCKET, 1500, 'P', 1);
	stream(w, 2000);
	assert_int_equal(compact(w, background).buckets, 0);
	for (uint64_t i = 0; i < 10; i++)
		write_op(w, BUCKET, 2501 + i, 'P', 1);
	stream(w, 3000);
	assert_int_equal(compact(w, background).buckets, 1);
	assert_int_equal(compact(w, (struct compact_options){.margin_ms = 0}).buckets, 451);
	struct slice names[] = {SLICE(BUCKET), SLICE("1#none[]"), SLICE("2" BUCKET)};
	r = compact(w, (struct compact_options){.names = names, .name_count = 3});
	assert_true(r.buckets == 1 && r.unknown == 2);
}

/* Any history, any limits and steps: what a client has that reads everything, or the rest from any place, is the same. */
static void nothing_changes_for_clients(void **state)
{
	NEEDS_POSTGRES;
	unsigned seed = 7;
	for (int round = 0; round < 25; round++) {
		struct op before[OPS_MAX], after[OPS_MAX];
		size_t n = 5 + (size_t)rand_r(&seed) % 60, m;
		look(w, "TRUNCATE bucket_data, syncline_compacted");
		for (size_t i = 0; i < n; i++)
			write_op(w, BUCKET, 10 + i * 3, rand_r(&seed) % 4 ? 'P' : 'R', rand_r(&seed) % ROWS);
		assert_int_equal(read_ops(w, before), n);
		for (int pass = 0; pass < 3; pass++) {
			stream(w, 10 + (uint64_t)rand_r(&seed) % (n * 3));
			compact(w, (struct compact_options){.clear_step = 2 + (size_t)rand_r(&seed) % 5,
			                                    .move_step = 1 + (size_t)rand_r(&seed) % 4,
			                                    .read_step = rand_r(&seed) % 2 ? 1 + (size_t)rand_r(&seed) % 10 : 0});
		}
		m = read_ops(w, after);
		struct reduced want = {.rest = 0};
		for (size_t i = 0; i < n; i++)
			apply(&want, &before[i]);
		for (size_t cut = 0; cut <= n; cut++) {
			struct reduced got = {.rest = 0};
			for (size_t i = 0; i < cut; i++)
				apply(&got, &before[i]);
			for (size_t i = 0; i < m; i++)
				if (!cut || after[i].op_id > before[cut - 1].op_id)
					apply(&got, &after[i]);
			assert_memory_equal(&got, &want, sizeof(got));
		}
	}
}

static void lookups_keep_the_newest_entry(void **state)
{
	NEEDS_POSTGRES;
	stream(w, 100);
	look(w,
	     "INSERT INTO bucket_parameters (id, group_id, source_table, source_key, lookup, bucket_parameters) VALUES"
	     " (1, 1, 't', 'a', 'L', '[{\"x\":1}]'), (2, 1, 't', 'a', 'L', '[{\"x\":2}]'), (3, 1, 't', 'a', 'M', '[{\"x\":3}]'),"
	     " (4, 1, 't', 'b', 'L', '[{\"x\":4}]'), (5, 1, 't', 'b', 'L', '[]'), (6, 2, 't', 'a', 'L', '[]'),"
	     " (101, 1, 't', 'a', 'L', '[]')");
	assert_int_equal(compact(w, (struct compact_options){.margin_ms = 0}).lookups, 3);
#define IDS "SELECT string_agg(id::text, ' ' ORDER BY id) FROM bucket_parameters"
	assert_string_equal(look(w, IDS), "2 3 6 101");
	/* Later only what is new is looked at, and what it supersedes goes. */
	stream(w, 200);
	assert_int_equal(compact(w, (struct compact_options){.margin_ms = 0}).lookups, 2);
	assert_string_equal(look(w, IDS), "3 6");
}

static void without_an_active_stream_nothing_is_done(void **state)
{
	NEEDS_POSTGRES;
	struct storage_sizes sizes;
	write_op(w, BUCKET, 1, 'P', 1);
	write_op(w, BUCKET, 2, 'P', 1);
	OK(storage_sizes(w->a.s, &sizes, &w->err));
	assert_int_equal(sizes.operations, 0);
	compact(w, (struct compact_options){.margin_ms = 0});
	assert_string_equal(ops(w), "1PUT 2PUT");
	stream(w, 2);
	OK(storage_sizes(w->a.s, &sizes, &w->err));
	assert_true(sizes.operations > 0 && sizes.lookups > 0 && sizes.rows > 0 && sizes.file > sizes.operations);
	look(w, "UPDATE sync_rules SET state = 'STOP'");
	compact(w, (struct compact_options){.margin_ms = 0});
	assert_string_equal(ops(w), "1PUT 2PUT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(superseded_operations_become_moves_and_the_leading_run_a_clear),
	        TEST(a_margin_keeps_what_clients_may_be_reading),
	        TEST(only_buckets_with_enough_news_are_looked_into),
	        TEST(nothing_changes_for_clients),
	        TEST(lookups_keep_the_newest_entry),
	        TEST(without_an_active_stream_nothing_is_done),
	};
	return cmocka_run_group_tests_name("postgres compaction", tests, make_world, end_world);
}
