/* A store is opened for looking beside the process that uses it, and nothing waits for a process that is stopped in the middle of it. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "storage/fixture.h"
#include "storage/request_list.h"

/* Of LMDB's lock files: two words of identification, then the mutex of the table of readers (mdb.c, MDB_txbody). */
#define LMDB_LOCK_MAGIC 0xBEEFC0DEu
#define LMDB_MUTEX_AT 8

/* Processes of a test: each says with a byte that it is ready, and ends when its input does. */
struct process {
	pid_t pid;
	int said, input;
};

static int open_lock_file(const struct fixture *f, const char *name)
{
	char path[200];
	snprintf(path, sizeof(path), "%s/%s.mdb-lock", f->folder, name);
	return open(path, O_RDWR | O_CLOEXEC);
}

/* As a process has it while it opens the store. */
static bool hold_opening(const struct fixture *f)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	return fcntl(open_lock_file(f, "data"), F_SETLK, &lock) == 0;
}

/* As a process has it while it begins a read. */
static bool hold_readers(const struct fixture *f, const char *name)
{
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open_lock_file(f, name), 0);
	if (map == MAP_FAILED || *(uint32_t *)map != LMDB_LOCK_MAGIC)
		return false;
	int rc = pthread_mutex_lock((pthread_mutex_t *)(map + LMDB_MUTEX_AT));
	return rc == 0 || rc == EOWNERDEAD;
}

static bool hold_data_readers(const struct fixture *f)
{
	return hold_readers(f, "data");
}

static bool hold_request_readers(const struct fixture *f)
{
	return hold_readers(f, "requests");
}

static struct process start(const struct fixture *f, bool (*what)(const struct fixture *f))
{
	int out[2], in[2];
	char byte;
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(in), 0);
	struct process p = {.pid = fork(), .said = out[0], .input = in[1]};
	if (p.pid == 0) {
		close(in[1]);
		byte = what(f) ? '+' : '-';
		if (write(out[1], &byte, 1) == 1 && read(in[0], &byte, 1) >= 0)
			_exit(0);
		_exit(1);
	}
	assert_true(p.pid > 0);
	close(out[1]);
	close(in[0]);
	return p;
}

static char said(const struct process *p)
{
	char byte = '\0';
	assert_int_equal(read(p->said, &byte, 1), 1);
	return byte;
}

static void end(const struct process *p)
{
	kill(p->pid, SIGKILL);
	assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
	close(p->said);
	close(p->input);
}

static struct storage *look(const struct fixture *f, struct error *err)
{
	struct storage_options o = {.path = slice_cstr(f->folder), .map_size = (uint64_t)4 << 30, .log = &f->log};
	err->code = "";
	return storage_open_lmdb_readonly(&o, err);
}

static bool is_refused(const struct fixture *f)
{
	struct error err;
	return !look(f, &err) && strcmp(err.code, "PSYNC_S1003") == 0;
}

static bool counts_requests(struct storage *s)
{
	struct request_counts counts;
	struct error err;
	return storage_count_requests(s, &counts, &err) && counts.pending == 1;
}

static bool reads(struct storage *s)
{
	struct error err;
	struct storage_reader *r = storage_read_begin(s, &err);
	bool ok = r && reader_bucket(r, 1, SLICE("[]")) == 0;
	storage_read_end(r);
	return ok;
}

static bool is_served(const struct fixture *f)
{
	struct error err;
	struct storage *s = look(f, &err);
	bool ok = s && counts_requests(s) && counts_requests(s) && reads(s) && reads(s);
	if (s)
		storage_close(s);
	return ok;
}

static void request(struct fixture *f)
{
	struct checkpoint_request r = {.user = {.subject = SLICE("u"), .client_id = SLICE("c")}, .id = 1};
	OK(storage_request_checkpoints(f->s, &r, 1, true, (struct position){0, 100}, &f->err));
}

/* what: done by another process, which stays where it is then. */
static void expect(struct fixture *f, bool (*what)(const struct fixture *f), bool (*outcome)(const struct fixture *f))
{
	struct process holder = start(f, what);
	if (said(&holder) != '+') {
		end(&holder);
		print_message("this LMDB has another lock file\n");
		skip();
		return;
	}
	struct process looking = start(f, outcome);
	assert_int_equal(said(&looking), '+');
	end(&looking);
	end(&holder);
	struct process after = start(f, is_served);
	assert_int_equal(said(&after), '+');
	end(&after);
}

static void close_it(struct fixture *f)
{
	request(f);
	storage_close(f->s);
	f->s = NULL;
}

static void beside_the_process_that_uses_it(void **state)
{
	struct fixture *f = *state;
	request(f);
	struct process looking = start(f, is_served);
	assert_int_equal(said(&looking), '+');
	end(&looking);
}

static void a_process_that_is_stopped_while_it_opens_the_store_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	close_it(f);
	expect(f, hold_opening, is_refused);
}

static void a_process_that_is_stopped_while_it_begins_a_read_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	request(f);
	expect(f, hold_data_readers, is_refused);
	expect(f, hold_request_readers, is_refused);
}

static bool counts_while_no_reader_begins(const struct fixture *f)
{
	struct error err;
	struct storage *s = look(f, &err);
	if (!s || !counts_requests(s))
		return false;
	struct process holder = start(f, hold_request_readers), other = start(f, hold_data_readers);
	bool held = said(&holder) == '+' && said(&other) == '+';
	alarm(20); /* rather than never */
	bool ok = counts_requests(s) && counts_requests(s) && reads(s) && reads(s);
	alarm(0);
	end(&holder);
	end(&other);
	storage_close(s);
	return held && ok;
}

static void one_that_is_stopped_later_is_not_waited_for(void **state)
{
	struct fixture *f = *state;
	request(f);
	struct process looking = start(f, counts_while_no_reader_begins);
	assert_int_equal(said(&looking), '+');
	end(&looking);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(beside_the_process_that_uses_it, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_process_that_is_stopped_while_it_opens_the_store_is_not_waited_for, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_process_that_is_stopped_while_it_begins_a_read_is_not_waited_for, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(one_that_is_stopped_later_is_not_waited_for, setup, teardown),
	};
	return cmocka_run_group_tests_name("look", tests, NULL, NULL);
}
