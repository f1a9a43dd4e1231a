/*
 * net_thread.h: one event loop on a thread of its own, with its listener, its inbound queue and its timers.
 *
 * Connections stay on the thread that accepted them. Other threads reach it through net_post alone; everything else here is for
 * the thread itself. It never touches storage and never blocks.
 */
#ifndef SYNCLINE_SERVER_NET_THREAD_H
#define SYNCLINE_SERVER_NET_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "server/timer_wheel.h"

struct connection;
struct event;
struct event_base;
struct evconnlistener;
struct server;

/* A message to a net thread; lies in the object that it is about, and is in the queue at most once. */
struct net_item {
	struct net_item *next;
	void (*run)(struct net_item *item); /* on the net thread; may free the object */
};

#define NET_SCRATCH (64 * 1024)
#define HTTP_DATE_SIZE 32

struct net_thread {
	struct server *server;
	struct event_base *base;
	struct evconnlistener *listener;
	struct event *queue_event, *tick_event;
	struct timer_wheel wheel;
	int64_t now_ms;                 /* monotonic, as of the last turn of the loop */
	struct connection *connections; /* all that are open */
	struct connection *dead;        /* closed in this turn of the loop, freed at its end */
	size_t connection_count;
	size_t away;                     /* exchanges and streams that workers or the batcher may hold */
	struct timer_entry accept_again; /* after running out of descriptors */
	bool draining;                   /* shutting down: answers close their connections */
	bool quit;
	int64_t date_s; /* second that date is for */
	char date[HTTP_DATE_SIZE];
	char *scratch; /* NET_SCRATCH bytes for reads */
	char *record;  /* TLS_RECORD bytes in which a write is put together; NULL: plain */
	pthread_t thread;
	bool thread_running;

	pthread_mutex_t lock; /* of the queue */
	struct net_item *first, *last;
	int queue_fd; /* eventfd, written when the queue was empty */
};

/* Binds 0.0.0.0:port (SO_REUSEPORT) and prepares the loop. The thread is not started yet. */
bool net_thread_init(struct net_thread *n, struct server *s, int port, struct error *err);
bool net_thread_start(struct net_thread *n, struct error *err);
/* Port that the listener got. */
int net_thread_port(const struct net_thread *n);
/* Any thread. Items run in the order in which they were posted. */
void net_post(struct net_thread *n, struct net_item *item);
/* The thread leaves its loop, at the latest when the item that asks for it has run (set n->quit on the thread); then joined. */
void net_thread_join(struct net_thread *n);
/* After the join: runs what is left in the queue on the calling thread, then frees. */
void net_thread_free(struct net_thread *n);
/* IMF-fixdate of now. */
const char *net_thread_date(struct net_thread *n);
void net_thread_stop_accepting(struct net_thread *n);

#endif
