/*
 * control.h: commands that must go through the service that runs on a store, by a unix socket in the store's folder.
 *
 * The client writes one line with a JSON object {"command": NAME, ...} and gets lines back: any number of {"progress": {...}}, then one
 * {"done": {...}} or {"error": {"code": ..., "message": ...}}. Whoever may read the store may use the socket (mode 0600); there is no other
 * check. A client that hangs up ends its command.
 */
#ifndef SYNCLINE_CLI_CONTROL_H
#define SYNCLINE_CLI_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/log.h"

#define CONTROL_SOCKET "control.sock"
/* Longest request, in bytes. */
#define CONTROL_REQUEST_MAX 65536

/* ---- control_server.c: the service's side --------------------------------------------------------------------------------------- */

struct control;
struct control_reply; /* of one command that runs */

struct control_command {
	const char *name;
	/* What stands behind "done" (the caller's from then on), or NULL with an error. On a thread of its own, beside others; it may take
	 * long, but must ask control_go_on now and then. */
	json_t *(*run)(void *ctx, const json_t *request, struct control_reply *reply, struct error *err);
};

/* Any stale socket in the folder is replaced: the caller holds the store's lock. The commands outlive the control. */
struct control *control_start(const char *folder, const struct control_command *commands, size_t count, void *ctx,
                              const struct log *log, struct error *err);
/* Ends what runs, and removes the socket. NULL does nothing. */
void control_stop(struct control *c);

/* False: nobody waits for the answer any more, or the service stops. */
bool control_go_on(struct control_reply *reply);
/* Takes the values. Cheap enough for ten times a second. */
void control_progress(struct control_reply *reply, json_t *values);

/* ---- control_client.c: the command's side --------------------------------------------------------------------------------------- */

enum control_outcome {
	CONTROL_ABSENT, /* no service listens there */
	CONTROL_DONE,   /* *done is the caller's */
	CONTROL_FAILED, /* *err says why */
};

/* Called with each {"progress": values}. */
typedef void (*control_progress_fn)(void *ctx, const json_t *values);

/* Takes the request. Waits as long as the service works on it. */
enum control_outcome control_call(const char *folder, json_t *request, control_progress_fn progress, void *ctx, json_t **done,
                                  struct error *err);

/* Does a service listen there? Asks it nothing, so also one that is stopped answers at once. */
bool control_listens(const char *folder);

/* ---- control_socket.c ---------------------------------------------------------------------------------------------------------- */

struct sockaddr_un;

/* The address of the folder's socket, also of a folder whose path is longer than an address may be: *folder_fd (-1: not needed) must
 * stay open as long as the address is used. */
bool control_address(const char *folder, struct sockaddr_un *address, int *folder_fd, struct error *err);
/* One line with the value, which is taken. False: the other side is gone. */
bool control_send(int fd, json_t *line);

#endif
