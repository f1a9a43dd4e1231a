/* test_hub.c: news reach the sessions that they concern, once, and none is lost; cost of news and of idle sessions; threads. */
#include "sync/client.h" /* before fake.h: libjansson comes first */
#include "sync/fake.h"

#include <malloc.h>

#include "base/clock.h"
#include "sync/hub.h"

static struct plan plan;
static struct client client;

static int setup(void **state)
{
	(void)state;
	client = (struct client){0};
	plan = (struct plan){
	        .rules =
	                {
	                        {.definition = 0, .keys = "[]", .priority = 3, .reason = {true, 0}},
	                        {.definition = 1, .lookup = 2, .lookup_key = "u1", .priority = 3, .reason = {true, 1}},
	                },
	        .rule_count = 2,
	        .streams = {{SLICE_INIT("lists"), true, NULL, 0}, {SLICE_INIT("docs"), true, NULL, 0}},
	        .stream_count = 2,
	};
	struct storage *s = fake_new();
	fake_definition(s, "lists");
	fake_definition(s, "docs");
	fake_definition(s, "members");
	fake_set_plan(s, &plan, 1);
	client_setup(&client, s);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	client_teardown(&client);
	fake_free(client.storage);
	return 0;
}

static void news_inside(struct storage *s)
{
	s->on_read = NULL;
	fake_put(s, 0, "[]", "x", "{}");
	fake_commit(s);
}

/* News that come while a step runs lead to another one, or are served by it. */
static void test_news_during_a_step(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client_open(&client);
	client_run(&client);
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	client.storage->on_read = news_inside;
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.wakes, 1);
	assert_int_equal(client.complete_op, 3);
	assert_int_equal(client_run(&client), SESSION_IDLE); /* the step that was asked for finds nothing */
	assert_int_equal(client.diffs, 2);
}

/* A bucket gets its first operation after the session looked for it and before it is on the list of those that wait. */
static void test_bucket_appears_during_the_first_step(void **state)
{
	(void)state;
	client.storage->on_read = news_inside;
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.complete_op, 1);
	assert_int_equal(client.operations, 1);
}

static void membership_inside(struct storage *s)
{
	s->on_read = NULL;
	fake_set_lookup(s, 2, "u1", "[1]", NULL);
	fake_commit(s);
}

static void test_lookup_changes_during_the_first_step(void **state)
{
	(void)state;
	client.storage->on_read = membership_inside;
	client_open(&client);
	assert_int_equal(client_run(&client), SESSION_IDLE);
	assert_int_equal(client.bucket_count, 2);
}

/* The request thread announces with a checkpoint that it read a while ago. */
static void test_late_news_do_not_go_back(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	struct storage_news late = {.checkpoint = client.storage->checkpoint};
	struct user_key user = {SLICE("u1"), SLICE("c1")};
	late.users = &user;
	late.user_count = 1;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	fake_ack(client.storage, "u1", "c1", 4, 1);
	session_hub_news(client.hub, &late);
	client_run(&client);
	assert_int_equal(client.last_op, 1);
	assert_int_equal(client.write_checkpoint, 4);
	assert_int_equal(client.diffs, 1);
}

/* The request thread sees a checkpoint before the replication thread has told which buckets changed: no acknowledgement before its data. */
static void test_early_acknowledgement(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	struct user_key user = {SLICE("u1"), SLICE("c1")};
	struct storage_news early = {
	        .checkpoint = client.storage->checkpoint, .users = &user, .user_count = 1, .only_users = true};
	early.checkpoint.op_id++;
	early.checkpoint.position.lsn++;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_ack(client.storage, "u1", "c1", 4, early.checkpoint.position.lsn);
	session_hub_news(client.hub, &early);
	assert_int_equal(client.wakes, 0);
	client_run(&client);
	assert_int_equal(client.diffs, 0);
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
	client_run(&client);
	assert_int_equal(client.diffs, 1);
	assert_int_equal(client.operations, 1);
	assert_int_equal(client.write_checkpoint, 4);
	/* Also when that checkpoint changes nothing for the client but this. */
	early.checkpoint.op_id++;
	early.checkpoint.position.lsn++;
	session_hub_news(client.hub, &early);
	assert_int_equal(client.wakes, 0);
	fake_put(client.storage, 1, "[\"other\"]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
}

/* A checkpoint for the user alone, where only the position moves. */
static void test_position_alone(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	fake_ack(client.storage, "u1", "c1", 4, 9);
	for (int i = 0; i < 20; i++)
		fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
	client_run(&client);
	assert_int_equal(client.write_checkpoint, 4);
	assert_int_equal(client.diffs, 1);
}

/* A bucket that comes into being wakes those who wait for just this one. */
static void test_absent_buckets(void **state)
{
	(void)state;
	client_open(&client);
	client_run(&client);
	fake_put(client.storage, 1, "[\"other\"]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 0);
	fake_put(client.storage, 1, "[\"other\"]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 0);
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 1);
	client_run(&client);
	assert_int_equal(client.complete_op, 3);
	/* With none missing, new buckets are nothing to it. */
	fake_put(client.storage, 1, "[\"third\"]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 0);
}

/* ---- cost ----------------------------------------------------------------------------------------------------------------------- */

#define MANY 10000

static size_t allocated(void)
{
	struct mallinfo2 info = mallinfo2();
	return info.uordblks + info.hblkhd;
}

static void step_quietly(struct session *s)
{
	struct session_output out = {0};
	struct error err;
	int64_t next;
	assert_int_equal(session_step(s, NOW, SIZE_MAX, SIZE_MAX, &out, &next, &err), SESSION_IDLE);
	for (size_t i = 0; i < out.count; i++)
		block_unref(out.blocks[i]);
	free(out.blocks);
}

static void test_ten_thousand_sessions(void **state)
{
	(void)state;
	static struct session *sessions[MANY];
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_put(client.storage, 1, "[\"a\"]", "x", "{}");
	fake_set_lookup(client.storage, 2, "u1", "[\"a\"]", NULL);
	fake_commit(client.storage);
	sessions[0] = session_new(client.hub, &client.request, &client.options, &client, &client.err);
	step_quietly(sessions[0]);
	size_t before = allocated();
	for (int i = 1; i < MANY; i++) {
		char name[20];
		snprintf(name, sizeof(name), "user-%d", i);
		client.options.user.subject = slice_cstr(name);
		sessions[i] = session_new(client.hub, &client.request, &client.options, &client, &client.err);
		step_quietly(sessions[i]);
	}
	size_t each = (allocated() - before) / (MANY - 1);
	print_message("an idle session of two buckets: %zu bytes without its querier\n", each);
	if (each) /* a sanitizer's malloc does not count */
		assert_in_range(each, 100, 2000);
	int64_t start = clock_mono_us();
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	int64_t us = clock_mono_us() - start;
	print_message("news for %d sessions: %lld us\n", MANY, (long long)us);
	assert_int_equal(client.wakes, MANY);
	client.wakes = 0;
	fake_put(client.storage, 1, "[\"b\"]", "x", "{}");
	fake_commit(client.storage);
	assert_int_equal(client.wakes, 0);
	struct hub_stats stats;
	session_hub_stats(client.hub, &stats);
	assert_int_equal(stats.sessions, MANY);
	assert_int_equal(stats.wakes, MANY);
	assert_int_equal(stats.steps, MANY);
	assert_int_equal(stats.lookups_read, MANY);
	for (int i = 0; i < MANY; i++)
		session_free(sessions[i]);
}

static struct session *session_of(const char *subject, const char *client_id)
{
	client.options.user = (struct user_key){slice_cstr(subject), {NULL, 0}};
	if (client_id)
		client.options.user.client_id = slice_cstr(client_id);
	return session_new(client.hub, &client.request, &client.options, &client, &client.err);
}

static bool lists(const struct user_key *users, size_t count, const char *subject, const char *client_id)
{
	for (size_t i = 0; i < count; i++)
		if (slice_eq(users[i].subject, slice_cstr(subject)) && !users[i].client_id.p == !client_id &&
		    (!client_id || slice_eq(users[i].client_id, slice_cstr(client_id))))
			return true;
	return false;
}

static void test_users_with_a_session_are_listed(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_commit(client.storage);
	struct session *sessions[] = {session_of("ann", "1"), session_of("ann", "2"), session_of("ann", NULL),
	                              session_of("bob", "1"), session_of("ann", "1")};
	struct arena arena = {0};
	struct user_key *users;
	size_t count;
	session_hub_users(client.hub, &arena, &users, &count);
	assert_int_equal(count, 4);
	assert_true(lists(users, count, "ann", "1") && lists(users, count, "ann", "2"));
	assert_true(lists(users, count, "ann", NULL) && lists(users, count, "bob", "1"));
	for (size_t i = 0; i < sizeof(sessions) / sizeof(*sessions); i++)
		session_free(sessions[i]);
	session_hub_users(client.hub, &arena, &users, &count);
	assert_int_equal(count, 0);
	arena_free(&arena);
}

struct seen {
	size_t count;
	void *owner;
	struct session_progress progress;
};

static void see_stream(void *ctx, void *owner, const struct session_progress *p)
{
	struct seen *s = ctx;
	*s = (struct seen){s->count + 1, owner, *p};
}

static struct seen look(const char *client_id)
{
	struct user_key user = {SLICE("u1"), slice_cstr(client_id)};
	struct seen s = {0};
	session_hub_each_stream(client.hub, &user, see_stream, &s);
	return s;
}

static void test_streams_of_a_user_tell_how_far_they_are(void **state)
{
	(void)state;
	fake_put(client.storage, 0, "[]", "x", "{}");
	fake_ack(client.storage, "u1", "c1", 7, 1);
	fake_commit(client.storage);
	client_open(&client);
	struct seen s = look("c1");
	assert_int_equal(s.count, 1);
	assert_ptr_equal(s.owner, &client);
	assert_int_equal(s.progress.write_checkpoint, 0);
	assert_false(s.progress.complete);
	client_step(&client, SIZE_MAX, 1); /* the checkpoint line alone */
	s = look("c1");
	assert_int_equal(s.progress.write_checkpoint, 7);
	assert_false(s.progress.complete);
	client_run(&client);
	assert_true(look("c1").progress.complete);
	assert_int_equal(look("c2").count, 0);
}

/* ---- threads ---------------------------------------------------------------------------------------------------------------------- */

#define STREAMS 24
#define WORKERS 3

/* What a server does: a queue of sessions that want a step, each in flight at most once. */
enum job_state { JOB_IDLE, JOB_QUEUED, JOB_RUNNING, JOB_AGAIN };

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct stream *queue[STREAMS];
	size_t queued;
	bool stop;
	struct session_hub *hub;
};

struct stream {
	struct pool *pool;
	struct client client;
	enum job_state state;
};

static void enqueue(struct pool *p, struct stream *s)
{
	s->state = JOB_QUEUED;
	p->queue[p->queued++] = s;
	pthread_cond_signal(&p->wanted);
}

static void pool_wake(void *ctx, void *owner)
{
	struct pool *p = ctx;
	struct stream *s = owner;
	pthread_mutex_lock(&p->lock);
	if (s->state == JOB_IDLE)
		enqueue(p, s);
	else if (s->state == JOB_RUNNING)
		s->state = JOB_AGAIN;
	pthread_mutex_unlock(&p->lock);
}

static void *work(void *arg)
{
	struct pool *p = arg;
	unsigned rounds = 0;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->queued && !p->stop)
			pthread_cond_wait(&p->wanted, &p->lock);
		if (!p->queued)
			break;
		struct stream *s = p->queue[--p->queued];
		s->state = JOB_RUNNING;
		pthread_mutex_unlock(&p->lock);
		enum session_status status = client_step(&s->client, 3000, 5);
		buf_clear(&s->client.text);
		if (status == SESSION_IDLE && ++rounds % 16 == 0) {
			/* Leaves, and comes back with what it has. */
			struct bucket_position positions[CLIENT_BUCKETS];
			session_free(s->client.session);
			for (size_t i = 0; i < s->client.bucket_count; i++)
				positions[i] = (struct bucket_position){slice_cstr(s->client.buckets[i].name),
				                                        s->client.buckets[i].position};
			s->client.request.buckets = positions;
			s->client.request.bucket_count = s->client.bucket_count;
			s->client.session = session_new(p->hub, &s->client.request, &s->client.options, s, &s->client.err);
			s->client.started = false;
			status = SESSION_MORE;
		}
		pthread_mutex_lock(&p->lock);
		if (status == SESSION_MORE || s->state == JOB_AGAIN)
			enqueue(p, s);
		else
			s->state = JOB_IDLE;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void test_threads(void **state)
{
	(void)state;
	static struct pool p;
	static struct stream streams[STREAMS];
	p = (struct pool){.lock = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};
	struct storage *s = client.storage;
	session_hub_free(client.hub);
	p.hub = client.hub = s->ctx = session_hub_new(s, pool_wake, &p);
	for (int i = 0; i < STREAMS; i++) {
		streams[i] = (struct stream){.pool = &p,
		                             .client = {.storage = s, .hub = p.hub, .now = NOW, .options = client.options}};
		streams[i].client.request.raw_data = true;
		streams[i].client.session =
		        session_new(p.hub, &streams[i].client.request, &client.options, &streams[i], &client.err);
	}
	pthread_mutex_lock(&p.lock);
	for (int i = 0; i < STREAMS; i++)
		enqueue(&p, &streams[i]);
	pthread_mutex_unlock(&p.lock);
	pthread_t workers[WORKERS];
	for (int i = 0; i < WORKERS; i++)
		pthread_create(&workers[i], NULL, work, &p);
	static const char *keys[] = {"[1]", "[2]", "[3]", "[4]"};
	for (unsigned i = 0; i < 300; i++) {
		pthread_rwlock_wrlock(&s->lock);
		fake_put(s, i & 1, i & 1 ? keys[i / 2 % 4] : "[]", "x", "{}");
		if (i % 5 == 0 && s->lookup_count < 60)
			fake_set_lookup(s, 2, "u1", keys[i % 3], keys[i % 3 + 1], NULL);
		s->checkpoint.op_id = s->last_op;
		s->checkpoint.position.lsn++;
		pthread_rwlock_unlock(&s->lock);
		fake_announce(s, i % 50 == 0);
	}
	/* Whoever was not woken for the last change would stay behind for ever. */
	bool busy = true;
	for (int64_t end = clock_mono_ms() + 20000; busy && clock_mono_ms() < end;) {
		pthread_mutex_lock(&p.lock);
		busy = p.queued > 0;
		for (int i = 0; i < STREAMS; i++)
			busy = busy || streams[i].state != JOB_IDLE;
		pthread_mutex_unlock(&p.lock);
	}
	assert_false(busy);
	pthread_mutex_lock(&p.lock);
	p.stop = true;
	pthread_cond_broadcast(&p.wanted);
	pthread_mutex_unlock(&p.lock);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	for (int i = 0; i < STREAMS; i++) {
		struct client *c = &streams[i].client;
		assert_true(c->last_op == c->complete_op);
		assert_int_equal(c->bucket_count, 3);
		for (size_t k = 0; k < c->bucket_count; k++) {
			struct bucket_checksum sum;
			uint32_t number =
			        fake_bucket_number(s, c->buckets[k].name[0] - '0', slice_cstr(strchr(c->buckets[k].name, '[')));
			struct storage_reader r = {s};
			reader_checksum(&r, number, s->checkpoint.op_id, &sum, &c->err);
			assert_int_equal(sum.checksum, c->buckets[k].sum);
		}
		client_close(c);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_news_during_a_step),
	        TEST(test_bucket_appears_during_the_first_step),
	        TEST(test_lookup_changes_during_the_first_step),
	        TEST(test_late_news_do_not_go_back),
	        TEST(test_early_acknowledgement),
	        TEST(test_position_alone),
	        TEST(test_absent_buckets),
	        TEST(test_ten_thousand_sessions),
	        TEST(test_users_with_a_session_are_listed),
	        TEST(test_streams_of_a_user_tell_how_far_they_are),
	        TEST(test_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
