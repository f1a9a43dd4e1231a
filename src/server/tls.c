/* tls.c: see tls.h. */
#include "server/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/alloc.h"

struct tls_context {
	SSL_CTX *ctx;
};

/* SSL is used as it is: an allocation less for each connection. */
static SSL *ssl_of(const struct tls *t)
{
	return (SSL *)(uintptr_t)t;
}

static bool fail(const char *what, const char *path, struct error *err)
{
	char reason[256] = "";
	unsigned long code = ERR_peek_error(); /* the first one is the cause */
	if (code)
		ERR_error_string_n(code, reason, sizeof(reason));
	ERR_clear_error();
	return error_set(err, "", "tls.%s: %s cannot be used%s%s", what, path, *reason ? ": " : "", reason);
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *offered, unsigned n,
                           void *arg)
{
	(void)ssl, (void)arg;
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *chosen;
	if (SSL_select_next_proto(&chosen, out_n, ours, sizeof(ours) - 1, offered, n) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static void configure(SSL_CTX *ctx)
{
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
	                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
}

struct tls_context *tls_context_new(const char *certificate, const char *private_key, struct error *err)
{
	struct tls_context *c = xcalloc(1, sizeof(*c));
	ERR_clear_error();
	c->ctx = SSL_CTX_new(TLS_server_method());
	bool ok = c->ctx != NULL;
	if (!ok)
		error_set(err, "", "tls: cannot be set up");
	if (ok)
		configure(c->ctx);
	if (ok && SSL_CTX_use_certificate_chain_file(c->ctx, certificate) != 1)
		ok = fail("certificate", certificate, err);
	if (ok && SSL_CTX_use_PrivateKey_file(c->ctx, private_key, SSL_FILETYPE_PEM) != 1)
		ok = fail("private_key", private_key, err);
	if (ok && SSL_CTX_check_private_key(c->ctx) != 1)
		ok = fail("private_key", private_key, err);
	if (!ok) {
		tls_context_free(c);
		return NULL;
	}
	return c;
}

void tls_context_free(struct tls_context *c)
{
	if (!c)
		return;
	SSL_CTX_free(c->ctx);
	free(c);
}

struct tls *tls_accept(struct tls_context *c, int fd)
{
	SSL *ssl = SSL_new(c->ctx);
	if (!ssl)
		return NULL;
	if (SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_accept_state(ssl);
	return (struct tls *)ssl;
}

void tls_free(struct tls *t)
{
	SSL_free(ssl_of(t));
}

/* What a failed call means, in terms of a socket. */
static ssize_t outcome(SSL *ssl, int result)
{
	int system = errno;
	switch (SSL_get_error(ssl, result)) {
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		errno = EAGAIN;
		return -1;
	case SSL_ERROR_SYSCALL:
		errno = system && system != EAGAIN ? system : ECONNRESET;
		break;
	default:
		errno = EPROTO;
	}
	ERR_clear_error();
	return -1;
}

ssize_t tls_read(struct tls *t, void *to, size_t size)
{
	size_t n = 0;
	ERR_clear_error();
	errno = 0;
	int result = SSL_read_ex(ssl_of(t), to, size, &n);
	return result == 1 ? (ssize_t)n : outcome(ssl_of(t), result);
}

ssize_t tls_write(struct tls *t, const void *p, size_t n)
{
	size_t done = 0;
	ERR_clear_error();
	errno = 0;
	int result = SSL_write_ex(ssl_of(t), p, n, &done);
	if (result == 1)
		return (ssize_t)done;
	ssize_t r = outcome(ssl_of(t), result);
	if (r == 0) { /* the client has closed: nobody reads what is written */
		errno = EPIPE;
		return -1;
	}
	return r;
}

bool tls_wants_write(const struct tls *t)
{
	return SSL_want_write(ssl_of(t));
}

bool tls_is_open(const struct tls *t)
{
	return SSL_is_init_finished(ssl_of(t));
}

void tls_goodbye(struct tls *t)
{
	ERR_clear_error();
	if (SSL_is_init_finished(ssl_of(t)))
		SSL_shutdown(ssl_of(t));
	ERR_clear_error();
}
