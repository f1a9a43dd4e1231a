/*
 * session.h: one client's sync stream as a state machine without sockets (sync-protocol 4 to 6).
 *
 * A session is stepped by worker threads, never by two at once. A step reads storage, builds lines, and hands them out as reference-
 * counted blocks; it holds a storage snapshot only while it runs. The transport decides what a block becomes (a chunk, a frame).
 */
#ifndef SYNCLINE_SYNC_SESSION_H
#define SYNCLINE_SYNC_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/metrics.h"
#include "base/slice.h"
#include "rules/rules.h"
#include "storage/storage.h"

/* ---- blocks --------------------------------------------------------------------------------------------------------------- */

/* Bytes that several connections may share. Immutable once handed out. Without split_lines a block holds one or more whole lines. */
struct block {
	_Atomic uint32_t references;
	uint32_t line_count; /* lines (NDJSON) or documents (BSON) in it; with split_lines: those that end in it */
	size_t n;
	char bytes[];
};
struct block *block_new(size_t capacity);
void block_ref(struct block *b);
void block_unref(struct block *b);

/* ---- requests --------------------------------------------------------------------------------------------------------------- */

struct bucket_position {
	struct slice name;
	uint64_t after;
};

/* The body of POST /sync/stream, validated (sync-protocol 2). Everything lives in the arena it was parsed into. */
struct sync_request {
	const struct bucket_position *buckets;
	size_t bucket_count;
	bool raw_data;
	struct slice client_id;  /* p == NULL: not given */
	struct slice parameters; /* JSON text; p == NULL */
	bool include_defaults;
	const struct subscription_request *subscriptions;
	size_t subscription_count;
	struct slice app_metadata; /* JSON text for the log, cut as in the spec; p == NULL */
};

/* Parses and validates a JSON body. False: err->code PSYNC_S2001 and *details (in the arena) is the JSON array of texts (sync-protocol
 * 2, "Errors before the stream starts"). A body that is no JSON: code FST_ERR_CTP_INVALID_JSON_BODY; an empty one:
 * FST_ERR_CTP_EMPTY_JSON_BODY (a request without body and content type counts as {}). The message is the text for the client. */
bool sync_request_parse(struct slice body, struct arena *arena, struct sync_request *out, struct slice *details,
                        struct error *err);

/* ---- sessions --------------------------------------------------------------------------------------------------------------- */

enum line_encoding { ENCODING_NDJSON, ENCODING_BSON };

struct session_limits {
	size_t max_buckets;
	size_t max_parameter_results;
};

struct session_options {
	struct user_key user;       /* copied */
	struct slice token_payload; /* copied */
	int64_t expires_at_ms;      /* wall clock */
	bool keepalive_lines;       /* HTTP: token_expires_in every 20 s; WebSocket: only near the end */
	enum line_encoding encoding;
	struct session_limits limits;
	bool split_lines; /* a large data line may be spread over several blocks, so that sessions share its operations by reference:
	                     for a transport that only joins the blocks (HTTP). A step never ends within a line */
};

struct session_hub;
struct session;

/* The hub knows every session of the process and turns storage news into wake-ups: only sessions whose buckets, lookups or user
 * changed are visited. wake(ctx, owner) is called from the thread that made the news, once until the next step begins; it must not
 * block or call functions of sessions or the hub, and must arrange for a step (for another one if a step runs). session_free waits
 * for an announcement under way: do not call it with a lock that wake takes. Thread-safe. */
struct session_hub *session_hub_new(struct storage *s, void (*wake)(void *ctx, void *owner), void *ctx);
/* All sessions are freed by now. */
void session_hub_free(struct session_hub *h);
/* Bytes of encoded operations kept for sessions that read the same buckets; default 32 MiB, 0: none. Before the first session. */
void session_hub_set_cache(struct session_hub *h, size_t max_bytes);
/* Time of the phases of steps goes there. Before the first session; NULL: nowhere. */
void session_hub_set_metrics(struct session_hub *h, struct metrics *m);
/* The subscriber to give to storage_subscribe. */
void session_hub_news(void *hub, const struct storage_news *news);
/* Users with a session, each once (but where two hash alike), in the arena. Any thread. */
void session_hub_users(struct session_hub *h, struct arena *arena, struct user_key **users, size_t *count);
/* How far one stream has told its client; see session_hub_each_stream. */
struct session_progress {
	uint64_t write_checkpoint; /* of the last checkpoint line that was built; 0: none */
	bool complete;             /* its checkpoint_complete was built, too: the client may apply it */
};
/* Calls see for each session of the user. It must be short, and not call functions of sessions or the hub; the owner lives during the
 * call. Any thread. */
void session_hub_each_stream(struct session_hub *h, const struct user_key *user,
                             void (*see)(void *ctx, void *owner, const struct session_progress *p), void *ctx);
/* At shutdown: every session ends cleanly with its next step. */
void session_hub_shutdown(struct session_hub *h);

/* Copies what it needs of the request. NULL: PSYNC_S2302 without an active plan, or what querier_new says. */
struct session *session_new(struct session_hub *h, const struct sync_request *request, const struct session_options *options,
                            void *owner, struct error *err);
/* Not during a step. */
void session_free(struct session *s);

enum session_status {
	SESSION_MORE,   /* stopped at the budget; step again when there is room */
	SESSION_IDLE,   /* nothing to send: wait for a wake-up, or until *next_ms */
	SESSION_END,    /* clean end (token expiry, shutdown): nothing follows the blocks of this step */
	SESSION_FAILED, /* cut the stream, or answer an error status if no line was sent yet */
};

struct session_output {
	struct block **blocks; /* each with a reference for the caller */
	size_t count, cap;
	size_t bytes, lines;
};

/* One step: produces at most about max_bytes (at least one line if any is ready) and at most max_lines lines (credits; SIZE_MAX for
 * HTTP). now_ms: wall clock. *next_ms: wall time of the next keep-alive or expiry. */
enum session_status session_step(struct session *s, int64_t now_ms, size_t max_bytes, size_t max_lines,
                                 struct session_output *out, int64_t *next_ms, struct error *err);

/* Counters for tests, metrics and `syncline requests`. */
struct session_stats {
	uint64_t operations_sent, bytes_sent, lines_sent;
	uint64_t kinds_sent[OP_KINDS]; /* of the operations, by enum op_kind */
	uint64_t last_op_id, write_checkpoint;
	size_t bucket_count;
};
/* Not during a step. */
void session_get_stats(const struct session *s, struct session_stats *out);
/* For the log: the ten largest of its buckets that have LARGE_BUCKET operations or more, as a JSON object of names and counts, as of the
 * last line. Not during a step. */
#define LARGE_BUCKET 10000
void session_large_buckets(const struct session *s, struct buf *out);
struct hub_stats {
	size_t sessions;
	uint64_t steps, lookups_read, wakes;
	size_t cache_bytes;
	uint64_t cache_hits, cache_misses; /* of lists of operations that several sessions may want */
};
void session_hub_stats(struct session_hub *h, struct hub_stats *out);

#endif
