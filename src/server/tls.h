/*
 * tls.h: TLS on the listening port: OpenSSL on the socket itself, without a buffer of ours between.
 *
 * An idle connection holds no record buffers (SSL_MODE_RELEASE_BUFFERS) and nothing in a session cache; one stateless ticket is sent,
 * because clients with Nagle's algorithm on wait for an answer to the handshake otherwise. TLS 1.2 and 1.3; ALPN says http/1.1.
 */
#ifndef SYNCLINE_SERVER_TLS_H
#define SYNCLINE_SERVER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define TLS_RECORD (16 * 1024) /* bytes that one write can take at most */

struct tls_context;
struct tls; /* one connection */

/* PEM files: the certificate with its chain, and its private key. Thread-safe after it is made. */
struct tls_context *tls_context_new(const char *certificate, const char *private_key, struct error *err);
void tls_context_free(struct tls_context *c);

/* The server's side of a new connection; the handshake goes on inside the reads. fd stays the caller's. NULL: out of memory. */
struct tls *tls_accept(struct tls_context *c, int fd);
void tls_free(struct tls *t);

/* Like recv and send on a socket that does not block: -1 with errno EAGAIN, or another errno when the connection is broken. 0 of a read:
 * the client is done sending. A write that got EAGAIN must be repeated with the same bytes, and may have more behind them. One write
 * takes up to TLS_RECORD bytes. A read must offer that much room: nothing decrypted is left behind then. */
ssize_t tls_read(struct tls *t, void *to, size_t size);
ssize_t tls_write(struct tls *t, const void *p, size_t n);
/* The handshake waits until the socket can be written. */
bool tls_wants_write(const struct tls *t);
bool tls_is_open(const struct tls *t); /* the handshake is done */
/* Says goodbye (close_notify), if the socket takes it at once. */
void tls_goodbye(struct tls *t);

#endif
