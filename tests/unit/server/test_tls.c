/* TLS on the listening port: requests, streams with slow readers, what is no TLS, files that cannot be used. */
#define _GNU_SOURCE
#include "client.h"

#include <signal.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#define BULK ((size_t)24 << 20)

static struct server *server;
static char certificate_path[64], key_path[64];

/* A self-signed certificate for "localhost", made anew for each run. */
static int make_certificate(void **state)
{
	(void)state;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	X509 *x = X509_new();
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_sign(x, key, EVP_sha256());
	snprintf(certificate_path, sizeof(certificate_path), "/tmp/syncline-tls-%d.crt", (int)getpid());
	snprintf(key_path, sizeof(key_path), "/tmp/syncline-tls-%d.key", (int)getpid());
	FILE *f = fopen(certificate_path, "w"), *g = fopen(key_path, "w");
	assert_non_null(f);
	assert_non_null(g);
	PEM_write_X509(f, x);
	PEM_write_PrivateKey(g, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	fclose(g);
	X509_free(x);
	EVP_PKEY_free(key);
	return 0;
}

static int remove_certificate(void **state)
{
	(void)state;
	unlink(certificate_path);
	unlink(key_path);
	return 0;
}

static struct server_options tls_options(void)
{
	struct server_options o = fake_options();
	o.tls_certificate = certificate_path;
	o.tls_private_key = key_path;
	return o;
}

static int start_with(struct server_options o)
{
	reset_fakes();
	server = fake_server(&o);
	server_set_ready(server, true, true);
	return 0;
}

static int start(void **state)
{
	(void)state;
	return start_with(tls_options());
}

static int start_impatient(void **state)
{
	(void)state;
	struct server_options o = tls_options();
	o.head_timeout_ms = 300;
	o.write_timeout_ms = 300;
	return start_with(o);
}

static int stop(void **state)
{
	(void)state;
	server_stop(server, 1000);
	server_free(server);
	server = NULL;
	assert_int_equal(fake_sync.live, 0);
	return 0;
}

/* ---- a client ----------------------------------------------------------------------------------------------------------------------- */

struct tls_client {
	struct client plain; /* the socket, and the decrypted bytes */
	SSL_CTX *ctx;
	SSL *ssl;
};

static void tls_open(struct tls_client *c, int version, int receive_buffer)
{
	*c = (struct tls_client){.plain = client_open(server), .ctx = SSL_CTX_new(TLS_client_method())};
	const struct timeval patience = {.tv_sec = WAIT_MS / 1000};
	setsockopt(c->plain.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (receive_buffer)
		setsockopt(c->plain.fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
	SSL_CTX_set_max_proto_version(c->ctx, version);
	SSL_CTX_load_verify_locations(c->ctx, certificate_path, NULL);
	SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
	c->ssl = SSL_new(c->ctx);
	SSL_set_alpn_protos(c->ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
	SSL_set_fd(c->ssl, c->plain.fd);
	assert_int_equal(SSL_connect(c->ssl), 1);
}

static void tls_close(struct tls_client *c)
{
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	client_close(&c->plain);
}

static void tls_send(struct tls_client *c, const char *text)
{
	assert_int_equal(SSL_write(c->ssl, text, (int)strlen(text)), (int)strlen(text));
}

/* Reads until the text is there. */
static void tls_expect(struct tls_client *c, const char *text)
{
	while (!c->plain.in.n || !memmem(c->plain.in.p, c->plain.in.n, text, strlen(text))) {
		int n = SSL_read(c->ssl, buf_reserve(&c->plain.in, 16384), 16384);
		if (n <= 0)
			fail_msg("no \"%s\" in %.*s", text, (int)c->plain.in.n, c->plain.in.p);
		c->plain.in.n += (size_t)n;
	}
}

static void post_stream(struct tls_client *c)
{
	tls_send(c, "POST /sync/stream HTTP/1.1\r\nHost: x\r\nAuthorization: Token good-u1\r\nContent-Type: application/json\r\n"
	            "Content-Length: 2\r\n\r\n{}");
}

static bool no_sessions(void)
{
	return fake_sync.live == 0;
}

/* ---- tests -------------------------------------------------------------------------------------------------------------------------- */

static void requests_share_a_connection(int version)
{
	struct tls_client c;
	tls_open(&c, version, 0);
	const unsigned char *protocol;
	unsigned n;
	SSL_get0_alpn_selected(c.ssl, &protocol, &n);
	assert_int_equal(n, 8);
	assert_memory_equal(protocol, "http/1.1", 8);
	for (int i = 0; i < 3; i++) {
		tls_send(&c, "GET /probes/startup HTTP/1.1\r\nHost: x\r\n\r\n");
		tls_expect(&c, "HTTP/1.1 200 ");
		tls_expect(&c, "}");
		buf_clear(&c.plain.in);
	}
	tls_close(&c);
}

static void test_requests(void **state)
{
	(void)state;
	requests_share_a_connection(TLS1_3_VERSION);
	requests_share_a_connection(TLS1_2_VERSION);
}

/* Every byte arrives although the socket is full most of the time. */
static void test_slow_reader(void **state)
{
	(void)state;
	fake_sync.bulk_bytes = BULK;
	fake_sync.bulk_block = 30000;
	struct tls_client c;
	tls_open(&c, TLS1_3_VERSION, 0);
	post_stream(&c);
	size_t lines = 0, letters = 0;
	poll(NULL, 0, 200); /* everything between us is full by now */
	tls_expect(&c, "\r\n\r\n");
	for (;;) {
		for (size_t i = 0; i < c.plain.in.n; i++) {
			letters += c.plain.in.p[i] >= 'a' && c.plain.in.p[i] <= 'w';
			lines += c.plain.in.p[i] == '\n';
		}
		buf_clear(&c.plain.in);
		if (letters >= BULK - (BULK + 29999) / 30000)
			break;
		if (lines % 97 == 0)
			poll(NULL, 0, 1);
		int n = SSL_read(c.ssl, buf_reserve(&c.plain.in, 16384), 16384);
		if (n <= 0)
			fail_msg("the stream stopped after %zu letters of %zu", letters, BULK);
		c.plain.in.n = (size_t)n;
	}
	tls_close(&c);
	fake_sync.bulk_bytes = 0;
	wait_until(no_sessions);
}

static void test_end_is_announced(void **state)
{
	(void)state;
	struct tls_client c;
	tls_open(&c, TLS1_3_VERSION, 0);
	tls_send(&c, "GET /probes/startup HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	tls_expect(&c, "HTTP/1.1 200 ");
	char rest[16384];
	int n;
	while ((n = SSL_read(c.ssl, rest, sizeof(rest))) > 0)
		;
	assert_int_equal(SSL_get_error(c.ssl, n), SSL_ERROR_ZERO_RETURN);
	tls_close(&c);
}

static void test_no_tls(void **state)
{
	(void)state;
	struct client c = client_open(server);
	client_send(&c, "GET /probes/startup HTTP/1.1\r\nHost: x\r\n\r\n");
	client_expect_end(&c);
	assert_null(memmem(c.in.p ? c.in.p : "", c.in.n, "HTTP/1.1 2", 10));
	client_close(&c);
	requests_share_a_connection(TLS1_3_VERSION);
}

static void test_unfinished_handshake(void **state)
{
	(void)state;
	struct client c = client_open(server);
	client_send_bytes(&c, "\x16\x03\x01", 3);
	client_expect_end(&c);
	client_close(&c);
}

/* A client that takes nothing is cut; what waits for it is seen meanwhile. */
static void find_waiting(void *ctx, const struct connection_view *v)
{
	size_t *most = ctx;
	if (v->tls && strcmp(v->kind, "stream") == 0 && v->unsent_bytes > *most && v->unacknowledged_bytes > 0 &&
	    strncmp(v->peer, "127.0.0.1:", 10) == 0)
		*most = v->unsent_bytes;
}

static size_t most_waiting;
static bool somebody_waits(void)
{
	server_each_connection(server, find_waiting, &most_waiting);
	return most_waiting > 0;
}

static void test_write_timeout(void **state)
{
	(void)state;
	fake_sync.bulk_bytes = (size_t)1 << 28;
	fake_sync.bulk_block = 30000;
	struct tls_client c;
	tls_open(&c, TLS1_3_VERSION, 4096);
	post_stream(&c);
	most_waiting = 0;
	wait_until(somebody_waits);
	wait_until(no_sessions);
	tls_close(&c);
}

static void refuse_files(const char *certificate, const char *key, const char *text)
{
	struct server_options o = fake_options();
	struct error err = {.code = ""};
	o.tls_certificate = certificate;
	o.tls_private_key = key;
	assert_null(server_start(&o, &err));
	if (!strstr(err.message, text))
		fail_msg("%s", err.message);
}

static void test_files(void **state)
{
	(void)state;
	reset_fakes();
	refuse_files("/nonexistent.crt", key_path, "tls.certificate: /nonexistent.crt cannot be used");
	refuse_files(certificate_path, "/nonexistent.key", "tls.private_key: /nonexistent.key cannot be used");
	refuse_files(key_path, key_path, "tls.certificate");
	refuse_files(certificate_path, certificate_path, "tls.private_key");
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_requests, start, stop),
	        cmocka_unit_test_setup_teardown(test_slow_reader, start, stop),
	        cmocka_unit_test_setup_teardown(test_end_is_announced, start, stop),
	        cmocka_unit_test_setup_teardown(test_no_tls, start, stop),
	        cmocka_unit_test_setup_teardown(test_unfinished_handshake, start_impatient, stop),
	        cmocka_unit_test_setup_teardown(test_write_timeout, start_impatient, stop),
	        cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, make_certificate, remove_certificate);
}
