/* test_control.c: the control socket, both sides in one process. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/control.h"

struct fixture {
	char folder[512];
	struct control *control;
	struct error err;
	_Atomic int endless_runs, endless_ends;
};

/* ---- commands of the service ---- */

static json_t *count_to(void *ctx, const json_t *request, struct control_reply *reply, struct error *err)
{
	(void)ctx;
	(void)err;
	json_int_t n = json_integer_value(json_object_get(request, "n"));
	for (json_int_t i = 1; i <= n; i++)
		control_progress(reply, json_pack("{s:I}", "at", i));
	return json_pack("{s:I}", "counted", n);
}

static json_t *refuse(void *ctx, const json_t *request, struct control_reply *reply, struct error *err)
{
	(void)ctx;
	(void)request;
	(void)reply;
	error_set(err, "PSYNC_S2404", "cannot: \xff%s", "\"quoted\"");
	return NULL;
}

static json_t *endless(void *ctx, const json_t *request, struct control_reply *reply, struct error *err)
{
	struct fixture *f = ctx;
	(void)request;
	atomic_fetch_add(&f->endless_runs, 1);
	while (control_go_on(reply))
		poll(NULL, 0, 2);
	atomic_fetch_add(&f->endless_ends, 1);
	error_set(err, "", "cut short");
	return NULL;
}

static const struct control_command commands[] = {{"count", count_to}, {"refuse", refuse}, {"endless", endless}};

/* ---- */

static void start(struct fixture *f)
{
	f->control = control_start(f->folder, commands, sizeof(commands) / sizeof(*commands), f, NULL, &f->err);
	if (!f->control)
		fail_msg("%s", f->err.message);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	strcpy(f->folder, "/tmp/control-XXXXXX");
	if (!mkdtemp(f->folder))
		return -1;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char path[600];
	control_stop(f->control);
	snprintf(path, sizeof(path), "%s/" CONTROL_SOCKET, f->folder);
	unlink(path);
	rmdir(f->folder);
	free(f);
	return 0;
}

static void wait_until(_Atomic int *value, int wanted)
{
	for (int i = 0; atomic_load(value) < wanted && i < 10000; i++)
		poll(NULL, 0, 1);
	assert_int_equal(atomic_load(value), wanted);
}

static int connect_raw(const struct fixture *f)
{
	struct sockaddr_un address;
	struct error err;
	int folder_fd, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(control_address(f->folder, &address, &folder_fd, &err));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (folder_fd >= 0)
		close(folder_fd);
	return fd;
}

static void add_progress(void *ctx, const json_t *values)
{
	json_int_t *sum = ctx;
	*sum += json_integer_value(json_object_get(values, "at"));
}

static void a_command_tells_its_progress_and_its_end(void **state)
{
	struct fixture *f = *state;
	json_int_t sum = 0;
	json_t *done;
	start(f);
	enum control_outcome o = control_call(f->folder, json_pack("{s:s,s:i}", "command", "count", "n", 1000), add_progress,
	                                      &sum, &done, &f->err);
	assert_int_equal(o, CONTROL_DONE);
	assert_int_equal(sum, 500500);
	assert_int_equal(json_integer_value(json_object_get(done, "counted")), 1000);
	json_decref(done);
}

static void an_error_comes_with_its_code(void **state)
{
	struct fixture *f = *state;
	json_t *done;
	start(f);
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "refuse"), NULL, NULL, &done, &f->err),
	                 CONTROL_FAILED);
	assert_string_equal(f->err.code, "PSYNC_S2404");
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "other"), NULL, NULL, &done, &f->err),
	                 CONTROL_FAILED);
	assert_non_null(strstr(f->err.message, "does not know"));
}

static void without_a_service_nobody_answers(void **state)
{
	struct fixture *f = *state;
	json_t *done;
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err),
	                 CONTROL_ABSENT);
	assert_int_equal(control_call("/nowhere/at/all", json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err),
	                 CONTROL_ABSENT);
}

/* Nobody accepts: as many connect as wait for that, and the next one is not kept waiting either. */
static void a_service_that_is_stopped_is_there(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address;
	int folder_fd, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_false(control_listens(f->folder));
	assert_false(control_listens("/nowhere/at/all"));
	assert_true(control_address(f->folder, &address, &folder_fd, &f->err));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_false(control_listens(f->folder));
	assert_int_equal(listen(fd, 1), 0);
	int waiting[2] = {connect_raw(f), connect_raw(f)};
	assert_true(control_listens(f->folder));
	close(waiting[0]);
	close(waiting[1]);
	close(fd);
	assert_false(control_listens(f->folder));
	start(f);
	assert_true(control_listens(f->folder));
}

static void a_socket_left_by_a_killed_service_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address;
	struct stat st;
	int folder_fd, fd = socket(AF_UNIX, SOCK_STREAM, 0);
	json_t *done;
	assert_true(control_address(f->folder, &address, &folder_fd, &f->err));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err),
	                 CONTROL_ABSENT);
	start(f);
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err),
	                 CONTROL_DONE);
	json_decref(done);
	assert_int_equal(stat(address.sun_path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	control_stop(f->control);
	f->control = NULL;
	assert_int_not_equal(stat(address.sun_path, &st), 0);
}

static void a_folder_with_a_long_path_works_as_well(void **state)
{
	struct fixture *f = *state;
	char top[64];
	json_t *done;
	strcpy(top, f->folder);
	snprintf(f->folder + strlen(f->folder), 300, "/%0180d", 7);
	assert_int_equal(mkdir(f->folder, 0700), 0);
	start(f);
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err),
	                 CONTROL_DONE);
	json_decref(done);
	control_stop(f->control);
	f->control = NULL;
	assert_int_equal(rmdir(f->folder), 0);
	strcpy(f->folder, top);
}

static void a_command_ends_when_its_client_hangs_up(void **state)
{
	struct fixture *f = *state;
	start(f);
	int fd = connect_raw(f);
	assert_true(control_send(fd, json_pack("{s:s}", "command", "endless")));
	wait_until(&f->endless_runs, 1);
	close(fd);
	wait_until(&f->endless_ends, 1);
}

static void a_command_ends_when_the_service_stops_and_says_so(void **state)
{
	struct fixture *f = *state;
	char text[200] = "";
	start(f);
	int fd = connect_raw(f), idle = connect_raw(f);
	assert_true(control_send(fd, json_pack("{s:s}", "command", "endless")));
	wait_until(&f->endless_runs, 1);
	control_stop(f->control);
	f->control = NULL;
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "cut short"));
	close(fd);
	close(idle);
}

static void too_many_clients_are_told_so_and_bad_requests_cost_one_connection(void **state)
{
	struct fixture *f = *state;
	int fds[40];
	json_t *done;
	start(f);
	int fd = connect_raw(f);
	char text[200] = "";
	assert_int_equal(send(fd, "no json\n", 8, 0), 8);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "\"error\""));
	close(fd);
	for (int i = 0; i < 40; i++)
		fds[i] = connect_raw(f);
	assert_int_equal(control_call(f->folder, json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err),
	                 CONTROL_FAILED);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	enum control_outcome o = CONTROL_FAILED;
	for (int i = 0; o != CONTROL_DONE && i < 1000; i++, poll(NULL, 0, 1))
		o = control_call(f->folder, json_pack("{s:s}", "command", "count"), NULL, NULL, &done, &f->err);
	assert_int_equal(o, CONTROL_DONE);
	json_decref(done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_command_tells_its_progress_and_its_end, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(an_error_comes_with_its_code, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(without_a_service_nobody_answers, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_service_that_is_stopped_is_there, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_socket_left_by_a_killed_service_is_replaced, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_folder_with_a_long_path_works_as_well, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_command_ends_when_its_client_hangs_up, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(a_command_ends_when_the_service_stops_and_says_so, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(too_many_clients_are_told_so_and_bad_requests_cost_one_connection, set_up,
	                                        tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
