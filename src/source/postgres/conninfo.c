/* conninfo.c: from the configuration to libpq's parameters. */
#define _GNU_SOURCE /* memfd_create */
#include "source/postgres/conninfo.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ip_range.h"

#define MAX_ADDRESSES 8

/*
 * Values reach us as the server prints them, so what decides their form is pinned (source-postgres 14.9), and so is what a role's or
 * database's defaults could break: read-only or limited sessions, isolation, planner settings that disturb ordered reading.
 * synchronous_commit = local: a marker is flushed at once and does not wait for standbys (checkpoint-requests 2).
 */
static const char session_options[] =
        "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex"
        " -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
        " -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed -c synchronous_commit=local";
static const char reading_options[] = " -c synchronize_seqscans=off -c max_parallel_workers_per_gather=0 -c jit=off";

static const char *const public_ca_bundles[] = {
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
};

static void add(struct conninfo *info, const char *keyword, const char *value)
{
	if (info->count + 1 >= CONNINFO_MAX)
		return;
	info->keywords[info->count] = keyword;
	info->values[info->count++] = value;
	info->keywords[info->count] = NULL;
	info->values[info->count] = NULL;
}

int conninfo_memory_file(const char *name, const char *text)
{
	if (!text || !*text)
		return -1;
	int fd = memfd_create(name, MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	size_t n = strlen(text), done = 0;
	while (done < n) {
		ssize_t k = write(fd, text + done, n - done);
		if (k <= 0)
			break;
		done += (size_t)k;
	}
	if (done < n || fchmod(fd, 0600) != 0) { /* libpq refuses keys that others could read */
		close(fd);
		return -1;
	}
	return fd;
}

static const char *memory_path(struct conninfo *info, int fd)
{
	return arena_printf(&info->arena, "/proc/self/fd/%d", fd).p;
}

/* ---- host ----------------------------------------------------------------------------------------------------------------- */

/*
 * The name is resolved here and libpq gets the addresses (hostaddr) beside the name to verify (host): so a rejected range holds
 * for the very address that is connected to, and tls_servername can differ from the host name.
 */
static bool add_host(struct conninfo *info, const struct source_config *config, struct error *err)
{
	const char *name = config->hostname;
	if (config->sslmode == SSLMODE_VERIFY_FULL && config->tls_servername && *config->tls_servername)
		name = config->tls_servername;
	if (config->hostname[0] == '/') { /* folder of a Unix socket */
		add(info, "host", config->hostname);
		return true;
	}
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	int rc = getaddrinfo(config->hostname, NULL, &hints, &found);
	if (rc != 0)
		return error_set(err, "", "could not translate host name \"%s\" to address: %s", config->hostname,
		                 gai_strerror(rc));
	struct buf hosts = {0}, addresses = {0};
	int count = 0, refused = 0;
	for (struct addrinfo *a = found; a && count < MAX_ADDRESSES; a = a->ai_next) {
		char text[NI_MAXHOST];
		const char *rule;
		struct ip_address ip;
		if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		if (!ip_from_socket(a->ai_addr, &ip) ||
		    ip_check(&ip, config->reject_ip_ranges, config->reject_ip_range_count, &rule) != IP_ALLOWED) {
			refused++;
			continue;
		}
		buf_printf(&hosts, "%s%s", count ? "," : "", name);
		buf_printf(&addresses, "%s%s", count ? "," : "", text);
		count++;
	}
	freeaddrinfo(found);
	if (count) {
		add(info, "host", arena_cstr(&info->arena, buf_slice(&hosts)));
		add(info, "hostaddr", arena_cstr(&info->arena, buf_slice(&addresses)));
	}
	buf_free(&hosts);
	buf_free(&addresses);
	if (count)
		return true;
	return error_set(err, "", refused ? "the address of \"%s\" is in reject_ip_ranges" : "host name \"%s\" has no address",
	                 config->hostname);
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------ */

/* libpq 16 knows the system's store by name; before, its usual files are tried. */
static const char *public_cas(void)
{
	const char *given = getenv("SSL_CERT_FILE");
	if (PQlibVersion() >= 160000)
		return "system";
	if (given && access(given, R_OK) == 0)
		return given;
	for (size_t i = 0; i < sizeof(public_ca_bundles) / sizeof(*public_ca_bundles); i++)
		if (access(public_ca_bundles[i], R_OK) == 0)
			return public_ca_bundles[i];
	return NULL;
}

static bool add_tls(struct conninfo *info, struct source *s, struct error *err)
{
	const struct source_config *config = s->config;
	if (config->sslmode == SSLMODE_DISABLE) {
		add(info, "sslmode", "disable");
		return true;
	}
	add(info, "sslmode", config->sslmode == SSLMODE_VERIFY_CA ? "verify-ca" : "verify-full");
	const char *cas = s->ca_fd >= 0 ? memory_path(info, s->ca_fd) : NULL;
	if (!cas && config->sslmode == SSLMODE_VERIFY_CA)
		return error_set(err, "PSYNC_S1104", "Postgres connection: cacert required for sslmode=verify-ca");
	if (!cas)
		cas = public_cas();
	if (!cas)
		return error_set(err, "PSYNC_S1104", "Postgres connection: no bundle of public CAs was found; set cacert");
	add(info, "sslrootcert", cas);
	if (s->cert_fd >= 0 && s->key_fd >= 0) {
		add(info, "sslcert", memory_path(info, s->cert_fd));
		add(info, "sslkey", memory_path(info, s->key_fd));
	}
	return true;
}

bool conninfo_build(struct conninfo *info, struct source *s, bool replication, struct error *err)
{
	const struct source_config *config = s->config;
	*info = (struct conninfo){0};
	if (!add_host(info, config, err) || !add_tls(info, s, err)) {
		conninfo_free(info);
		return false;
	}
	add(info, "port", arena_printf(&info->arena, "%d", config->port).p);
	add(info, "user", config->username);
	add(info, "password", config->password);
	add(info, "dbname", config->database);
	add(info, "application_name", config->application_name ? config->application_name : "syncline");
	add(info, "client_encoding", "UTF8");
	add(info, "options", arena_printf(&info->arena, "%s%s", session_options, replication ? "" : reading_options).p);
	if (replication)
		add(info, "replication", "database");
	add(info, "gssencmode", "disable");
	add(info, "keepalives", "1");
	add(info, "keepalives_idle", "40");
	add(info, "keepalives_interval", "10");
	add(info, "keepalives_count", "6");
	add(info, "tcp_user_timeout", "120000");
	return true;
}

void conninfo_free(struct conninfo *info)
{
	arena_free(&info->arena);
	info->count = 0;
}
