/* admin_queue.h: the threads of the admin routes, and how many requests may be there at once. */
#ifndef SYNCLINE_SERVER_ADMIN_QUEUE_H
#define SYNCLINE_SERVER_ADMIN_QUEUE_H

struct admin_queue;

/* NULL: no thread could be started. */
struct admin_queue *admin_queue_new(void);
/* Requests under way are finished; ones that wait for the source should be interrupted before. */
void admin_queue_free(struct admin_queue *q);

#endif
