/* test_session_compaction.c: compaction between any two steps of sessions (sync-protocol 6, "Invalidation by compaction"). */
#include "sync/storage_world.h" /* libjansson comes first */

#include "storage/compact.h"

#define LISTS_COUNT 3
#define HISTORY 4096

/* What the source has, one bit a row, and what it had at each checkpoint. */
struct source_model {
	uint32_t notes, todos[LISTS_COUNT];
	bool owned[LISTS_COUNT];
};

static struct {
	struct source_model now;
	struct {
		uint64_t op_id;
		struct source_model m;
	} history[HISTORY];
	size_t count;
	unsigned checked;
} world;

static uint32_t next_random(uint64_t *seed, uint32_t below)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33) % below;
}

static uint32_t rows_of(const struct client_bucket *b)
{
	uint32_t mask = 0;
	for (int i = 0; b && i < 26; i++)
		mask |= b->rows[i] ? 1u << i : 0;
	return mask;
}

/* Invariant 1: exactly the rows of that checkpoint. */
static void check_rows(struct client *c)
{
	for (size_t i = world.count; i-- > 0;) {
		if (world.history[i].op_id != c->complete_op)
			continue;
		const struct source_model *m = &world.history[i].m;
		assert_int_equal(rows_of(bucket_like(c, "notes[]")), m->notes);
		for (int l = 0; l < LISTS_COUNT; l++) {
			char name[32];
			snprintf(name, sizeof(name), "mine[\"l%d\"]", l);
			const struct client_bucket *b = bucket_like(c, name);
			assert_int_equal(b != NULL, m->owned[l]);
			assert_int_equal(rows_of(b), m->owned[l] ? m->todos[l] : 0);
		}
		world.checked++;
		return;
	}
	fail_msg("complete at %llu, which was no checkpoint", (unsigned long long)c->complete_op);
}

static void random_write(struct fixture *f, uint64_t *seed, char *text)
{
	char id[2] = {(char)('a' + next_random(seed, 26)), '\0'};
	uint32_t bit = 1u << (id[0] - 'a'), kind = next_random(seed, 10), l = next_random(seed, LISTS_COUNT);
	char list[4] = {'l', (char)('0' + l), '\0', '\0'};
	if (kind < 5) {
		size_t n = next_random(seed, 4) ? next_random(seed, 50) : 30000 + next_random(seed, 30000);
		memset(text, 'a' + (int)next_random(seed, 26), n);
		text[n] = '\0';
		write_row(f, NOTES, id, text);
		world.now.notes |= bit;
	} else if (kind < 6) {
		delete_row(f, NOTES, id);
		world.now.notes &= ~bit;
	} else if (kind < 9) {
		write_row(f, TODOS, id, list);
		for (uint32_t i = 0; i < LISTS_COUNT; i++)
			world.now.todos[i] = i == l ? world.now.todos[i] | bit : world.now.todos[i] & ~bit;
	} else {
		world.now.owned[l] = next_random(seed, 2);
		write_row(f, LISTS, list, world.now.owned[l] ? "u1" : "u2");
	}
	arena_reset(&f->arena);
}

static void note_checkpoint(struct fixture *f)
{
	assert_true(world.count < HISTORY);
	world.history[world.count].op_id = storage_checkpoint(f->s).op_id;
	world.history[world.count++].m = world.now;
}

static void test_compaction_between_steps(void **state)
{
	struct fixture *f = *state;
	struct client *clients[4] = {&f->client};
	char *text = xmalloc(70000);
	uint64_t seed = 20, gained = 0, asked = 0;
	memset(&world, 0, sizeof(world));
	f->client.on_complete = check_rows;
	for (int i = 1; i < 4; i++) { /* the same user: they share lines */
		clients[i] = xcalloc(1, sizeof(**clients));
		*clients[i] = f->client;
	}
	note_checkpoint(f);
	for (int round = 0; round < 6000; round++) {
		uint32_t kind = next_random(&seed, 100);
		struct client *c = clients[next_random(&seed, 4)];
		if (kind < 35) {
			for (uint32_t n = 1 + next_random(&seed, 8); n > 0; n--)
				random_write(f, &seed, text);
			if (world.count == HISTORY)
				break;
			commit(f);
			note_checkpoint(f);
		} else if (kind < 45) {
			struct compact_options o = {.buckets = true,
			                            .lookups = true,
			                            .move_step = 1 + next_random(&seed, 20),
			                            .min_dead = next_random(&seed, 2) ? 0 : 10,
			                            .defragment_share = 0.3};
			struct compact_report report;
			OK(storage_compact(f->s, &o, &report, &f->err));
			gained += report.moved + report.cleared + report.lookups;
			asked += report.asked;
		} else if (kind < 48 && c->session) {
			client_close(c);
			c->started = false;
			c->last_op = 0;
		} else {
			if (!c->session)
				client_open(c);
			client_step(c, 1 + next_random(&seed, 200000), 1 + next_random(&seed, 4));
			buf_clear(&c->text);
		}
	}
	for (int i = 0; i < 4; i++) {
		if (!clients[i]->session)
			client_open(clients[i]);
		client_run(clients[i]);
		assert_int_equal(clients[i]->complete_op, storage_checkpoint(f->s).op_id);
		if (i > 0) {
			client_close(clients[i]);
			free(clients[i]);
		}
	}
	free(text);
	print_message("%u complete checkpoints, %zu made, %llu operations compacted, %llu rows to be written again\n",
	              world.checked, world.count, (unsigned long long)gained, (unsigned long long)asked);
	assert_true(world.checked > 500 && gained > 2000 && asked > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_compaction_between_steps)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
