/* One process uses a store: others are refused at once, but not because of a command that only asked. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>

#include "storage/fixture.h"
#include "storage/store_lock.h"

static int hold(const struct fixture *f, const char *who)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/lock", f->folder);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, who, strlen(who), 0), (ssize_t)strlen(who));
	return fd;
}

static void close_it(struct fixture *f)
{
	storage_close(f->s);
	f->s = NULL;
}

static bool opens(struct fixture *f)
{
	struct storage_options o = {.path = slice_cstr(f->folder), .map_size = (uint64_t)1 << 30, .log = &f->log};
	f->s = storage_open_lmdb(&o, &f->err);
	return f->s != NULL;
}

static void *let_go(void *fd)
{
	usleep(100 * 1000);
	close(*(int *)fd);
	return NULL;
}

/* The dead one is what a kill leaves in the file. */
static void a_lock_that_nobody_living_claims_is_waited_for(void **state)
{
	struct fixture *f = *state;
	static const char *const claims[] = {"", "999999999\n", "0\n", "nonsense"};
	for (size_t i = 0; i < sizeof(claims) / sizeof(*claims); i++) {
		pthread_t thread;
		close_it(f);
		int fd = hold(f, claims[i]);
		assert_int_equal(pthread_create(&thread, NULL, let_go, &fd), 0);
		if (!opens(f))
			fail_msg("'%s': %s", claims[i], f->err.message);
		pthread_join(thread, NULL);
	}
}

static void a_lock_that_stays_is_an_error(void **state)
{
	struct fixture *f = *state;
	close_it(f);
	int fd = hold(f, "999999999\n");
	assert_false(opens(f));
	assert_string_equal(f->err.code, "PSYNC_S1003");
	assert_null(strstr(f->err.message, "999999999"));
	close(fd);
	assert_true(opens(f));
}

static void a_living_process_is_named(void **state)
{
	struct fixture *f = *state;
	char claim[40];
	close_it(f);
	snprintf(claim, sizeof(claim), "%ld\n", (long)getppid());
	int fd = hold(f, claim);
	assert_false(opens(f));
	snprintf(claim, sizeof(claim), "pid %ld", (long)getppid());
	assert_non_null(strstr(f->err.message, claim));
	close(fd);
	assert_true(opens(f));
}

static void a_command_is_named_and_a_service_is_not(void **state)
{
	struct fixture *f = *state;
	struct error err;
	assert_string_equal(store_lock_holder(f->folder).command, "");
	assert_int_equal(store_lock_holder(f->folder).pid, getpid());
	close_it(f);
	int fd = store_lock_take(f->folder, "compact", &f->err);
	assert_true(fd >= 0);
	assert_string_equal(store_lock_holder(f->folder).command, "compact");
	assert_int_equal(store_lock_take(f->folder, NULL, &err), -1);
	assert_non_null(strstr(err.message, "(syncline compact)"));
	close(fd);
	assert_true(opens(f));
	assert_string_equal(store_lock_holder(f->folder).command, "");
}

/* A command of more bytes than fit, and a file that is not there. */
static void what_is_in_the_file_is_not_trusted(void **state)
{
	struct fixture *f = *state;
	close_it(f);
	char text[300];
	memset(text, 'x', sizeof(text));
	memcpy(text, "7\n", 2);
	text[sizeof(text) - 1] = '\0';
	close(hold(f, text));
	struct store_holder h = store_lock_holder(f->folder);
	assert_int_equal(h.pid, 7);
	assert_int_equal(strlen(h.command), sizeof(h.command) - 1);
	assert_int_equal(store_lock_holder("/nowhere").pid, 0);
	assert_false(store_lock_is_wanted("/nowhere"));
	assert_int_equal(store_lock_want("/nowhere"), -1);
	assert_true(opens(f));
}

static void those_who_wait_are_heard_until_the_last_has_gone(void **state)
{
	struct fixture *f = *state;
	assert_false(store_lock_is_wanted(f->folder));
	int one = store_lock_want(f->folder), other = store_lock_want(f->folder);
	assert_true(one >= 0 && other >= 0);
	assert_true(store_lock_is_wanted(f->folder));
	assert_true(store_lock_is_wanted(f->folder));
	close(one);
	assert_true(store_lock_is_wanted(f->folder));
	close_it(f);
	assert_true(opens(f));
	assert_true(store_lock_is_wanted(f->folder));
	close(other);
	assert_false(store_lock_is_wanted(f->folder));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_lock_that_nobody_living_claims_is_waited_for, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_lock_that_stays_is_an_error, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_living_process_is_named, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_command_is_named_and_a_service_is_not, setup, teardown),
	        cmocka_unit_test_setup_teardown(what_is_in_the_file_is_not_trusted, setup, teardown),
	        cmocka_unit_test_setup_teardown(those_who_wait_are_heard_until_the_last_has_gone, setup, teardown),
	};
	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
