/*
 * test_session_random.c: many clients under random changes, compactions, plans and reading speeds.
 *
 * Each client verifies what a real one would (client.h), and at each checkpoint_complete that its rows are those of the source history
 * at that checkpoint. At the end every client must have heard of the last change that concerns it.
 */
#include "sync/client.h" /* before fake.h: libjansson comes first */
#include "sync/fake.h"

#define CLIENTS 5
#define KEYS 6
#define ROUNDS 1500

static const char *keys[KEYS] = {"[]", "[\"a\"]", "[\"b\"]", "[\"c\"]", "[\"d\"]", "[\"e\"]"};
static const char *users[CLIENTS] = {"u0", "u1", "u2", "u3", "u4"};
static const char *letters[26] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m",
                                  "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z"};

static uint64_t seed;

static uint32_t roll(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

struct world {
	struct storage *storage;
	struct plan plans[2];
	struct client clients[CLIENTS];
	uint64_t plan_id;
	uint64_t ack_id;
};

static void expected_rows(const struct fake_bucket *b, uint64_t c, uint64_t rows[26])
{
	memset(rows, 0, sizeof(uint64_t) * 26);
	for (size_t i = 0; i < b->history_count && b->history[i].op_id <= c; i++)
		rows[b->history[i].id[0] - 'a'] = b->history[i].kind == OP_PUT ? b->history[i].op_id : 0;
}

static void check_rows(struct client *c)
{
	for (size_t i = 0; i < c->bucket_count; i++) {
		struct client_bucket *b = &c->buckets[i];
		uint64_t rows[26] = {0};
		char *hash = strchr(b->name, '#');
		struct slice at = slice_cstr(strchr(b->name, '['));
		uint32_t number = fake_bucket_number(c->storage, (uint32_t)strtoul(b->name, &hash, 10), at);
		if (number)
			expected_rows(&c->storage->buckets[number - 1], c->complete_op, rows);
		if (memcmp(rows, b->rows, sizeof(rows)) != 0)
			fail_msg("rows of %s at %llu", b->name, (unsigned long long)c->complete_op);
	}
}

static void connect_client(struct client *c)
{
	static struct bucket_position positions[CLIENT_BUCKETS];
	c->request.bucket_count = c->bucket_count;
	c->request.buckets = positions;
	for (size_t i = 0; i < c->bucket_count; i++) {
		/* What was applied as a whole counts as known up to the checkpoint (sync-protocol 10, "Positions"). */
		if (c->complete_op == c->last_op && c->buckets[i].position < c->complete_op)
			c->buckets[i].position = c->complete_op;
		positions[i] = (struct bucket_position){slice_cstr(c->buckets[i].name), c->buckets[i].position};
	}
	c->session = session_new(c->hub, &c->request, &c->options, c, &c->err);
	assert_non_null(c->session);
	c->write_checkpoint = 0;
	c->started = false;
}

/* Bucket 0 is shared by all; some have static buckets, all have looked-up ones in two priorities. */
static void make_plan(struct plan *p, const char *user, bool other)
{
	*p = (struct plan){
	        .rules =
	                {
	                        {.definition = 0, .keys = "[]", .priority = 3, .reason = {true, 0}},
	                        {.definition = 1, .lookup = 3, .lookup_key = user, .priority = 1, .reason = {true, 1}},
	                        {.definition = 2, .lookup = 3, .lookup_key = "all", .priority = 2, .reason = {true, 2}},
	                },
	        .rule_count = other ? 2 : 3,
	        .streams = {{SLICE_INIT("one"), true, NULL, 0},
	                    {SLICE_INIT("two"), true, NULL, 0},
	                    {SLICE_INIT("three"), true, NULL, 0}},
	        .stream_count = 3,
	};
}

static void change(struct world *w)
{
	uint32_t definition = roll(3);
	const char *key = definition == 0 ? "[]" : keys[roll(KEYS)];
	for (uint32_t n = roll(20) == 0 ? 800 + roll(1500) : 1 + roll(4); n; n--) {
		const char *id = letters[roll(26)];
		enum op_kind kind = roll(4) ? OP_PUT : OP_REMOVE;
		fake_op(w->storage, definition, key, kind, id, kind == OP_PUT ? SLICE("{\"x\":1}") : (struct slice){0});
	}
}

static void change_members(struct world *w)
{
	const char *who = roll(3) ? users[roll(CLIENTS)] : "all";
	uint32_t from = roll(KEYS), n = roll(4);
	const char *r[4] = {NULL};
	for (uint32_t i = 0; i < n && i < 3; i++)
		r[i] = keys[(from + i) % KEYS];
	if (w->storage->lookup_count < 250)
		fake_set_lookup(w->storage, 3, who, r[0], r[1], r[2], NULL);
}

static void world_act(struct world *w)
{
	switch (roll(24)) {
	case 0:
		change_members(w);
		break;
	case 1:
		if (w->storage->ack_count < 60) {
			w->ack_id++;
			fake_ack(w->storage, users[roll(CLIENTS)], "c", w->ack_id, w->storage->checkpoint.position.lsn + roll(3));
		}
		break;
	case 2:
		if (w->storage->bucket_count)
			fake_compact(w->storage, &w->storage->buckets[roll(w->storage->bucket_count)]);
		break;
	case 3:
		if (roll(20) == 0) {
			w->plan_id++;
			fake_activate(w->storage, &w->plans[w->plan_id & 1], w->plan_id);
		}
		break;
	case 4:
	case 5:
	case 6:
		fake_commit(w->storage);
		break;
	default:
		change(w);
		break;
	}
}

static struct world *current;

/* News that arrive between a session's look at the checkpoint and its reading of the storage. */
static void act_in_a_step(struct storage *s)
{
	(void)s;
	if (roll(8) == 0) {
		change_members(current);
		change(current);
		fake_commit(current->storage);
	}
}

static void client_act(struct client *c)
{
	if (!c->session) {
		connect_client(c);
		return;
	}
	if (roll(150) == 0) {
		session_free(c->session);
		c->session = NULL;
		return;
	}
	enum session_status s = client_step(c, roll(3) ? 1 + roll(40000) : SIZE_MAX, roll(3) ? 1 + roll(6) : SIZE_MAX);
	assert_true(s == SESSION_IDLE || s == SESSION_MORE);
	buf_clear(&c->text);
}

static void world_run(uint64_t with)
{
	static struct world w;
	w = (struct world){.storage = fake_new(), .plan_id = 2};
	seed = with;
	current = &w;
	w.storage->on_read = act_in_a_step;
	for (int i = 0; i < 3; i++)
		fake_definition(w.storage, letters[i]);
	fake_definition(w.storage, "members");
	make_plan(&w.plans[0], "u1", false);
	make_plan(&w.plans[1], "u1", true);
	fake_set_plan(w.storage, &w.plans[0], 2);
	client_setup(&w.clients[0], w.storage);
	for (int i = 0; i < CLIENTS; i++) {
		struct session_hub *hub = w.clients[0].hub;
		if (i)
			w.clients[i] = (struct client){.storage = w.storage,
			                               .hub = hub,
			                               .now = NOW,
			                               .request = w.clients[0].request,
			                               .options = w.clients[0].options};
		w.clients[i].options.user = (struct user_key){slice_cstr(users[i]), SLICE("c")};
		w.clients[i].options.split_lines = i & 1;
		w.clients[i].request.raw_data = i < 4;
		w.clients[i].on_complete = check_rows;
	}
	for (int round = 0; round < ROUNDS; round++) {
		if (roll(2))
			world_act(&w);
		client_act(&w.clients[roll(CLIENTS)]);
	}
	w.storage->on_read = NULL;
	fake_commit(w.storage);
	for (int i = 0; i < CLIENTS; i++) {
		struct client *c = &w.clients[i];
		if (!c->session)
			connect_client(c);
		assert_int_equal(client_run(c), SESSION_IDLE);
		buf_clear(&c->text);
		assert_true(c->complete_op == c->last_op);
		/* What it has is also right at the newest checkpoint, which may not have concerned it. */
		c->complete_op = w.storage->checkpoint.op_id;
		check_rows(c);
		assert_true(c->completes > 0);
		client_close(c);
	}
	session_hub_free(w.clients[0].hub);
	fake_free(w.storage);
}

static void test_random_worlds(void **state)
{
	(void)state;
	const char *count = getenv("SYNC_RANDOM_WORLDS");
	for (uint64_t i = 1; i <= (count ? strtoull(count, NULL, 10) : 2); i++)
		world_run(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_random_worlds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
