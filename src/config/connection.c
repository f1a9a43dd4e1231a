/* connection.c: the connection sections, source and storage (configuration 2.2 to 2.4), in the order of checks given there. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/ip_range.h"
#include "config/load.h"
#include "config/uri.h"

#define DEFAULT_PORT 5432
#define MAX_SLOT_PREFIX 40 /* bytes; a slot name has 63 with the stream's number and the random part */
#define MAX_SNAPSHOT_READERS 16

struct connection {
	struct config *c;
	const struct node *section;
	const char *path;
	struct error *err;
	struct uri uri;
	bool has_uri;
};

static bool refuse(struct connection *k, const char *key, const char *code, const char *text)
{
	const struct node *n = node_get(k->section, key);
	return config_error_at(k->c, n ? n : k->section, k->err, code, "%s.%s %s", k->path, key, text);
}

/* A member of its own, even when empty, hides the part of the URI. */
static const char *member_or(struct connection *k, const char *key, struct slice from_uri)
{
	const struct node *n = node_get(k->section, key);
	if (n)
		return node_text(n, "");
	return from_uri.p ? arena_cstr(&k->c->arena, from_uri) : "";
}

static bool split_uri(struct connection *k)
{
	const char *uri = node_text(node_get(k->section, "uri"), "");
	k->uri = (struct uri){0};
	k->has_uri = *uri != '\0';
	if (!k->has_uri)
		return true;
	bool ok = uri_split(slice_cstr(uri), &k->c->arena, &k->uri) &&
	          (slice_eq(k->uri.scheme, SLICE("postgresql")) || slice_eq(k->uri.scheme, SLICE("postgres")));
	return ok || refuse(k, "uri", "PSYNC_S1109", "must be postgresql://HOST:PORT/DATABASE");
}

static bool resolve_port(struct connection *k, int *out)
{
	const struct node *n = node_get(k->section, "port");
	double v = DEFAULT_PORT;
	bool ok = true;
	if (n && n->kind == NODE_STRING)
		ok = number_from_prefix(n->text, &v);
	else if (n)
		v = n->number;
	else if (k->uri.port.p)
		ok = number_from_text(k->uri.port, &v) && k->uri.port.p[0] >= '0' && k->uri.port.p[0] <= '9';
	if (!ok || v < 1024 || v > 65535)
		return refuse(k, n || !k->has_uri ? "port" : "uri", "PSYNC_S1110", "must name a port from 1024 to 65535");
	*out = (int)v;
	return true;
}

/* Neither is percent-decoded, and the password ends at the second colon (2.3). */
static void split_userinfo(const struct connection *k, struct slice *user, struct slice *password)
{
	*user = k->uri.userinfo;
	*password = slice_make(NULL, 0);
	const char *colon = user->p ? memchr(user->p, ':', user->n) : NULL;
	if (!colon)
		return;
	*password = slice_drop(*user, (size_t)(colon - user->p) + 1);
	user->n = (size_t)(colon - user->p);
	const char *second = memchr(password->p, ':', password->n);
	if (second)
		password->n = (size_t)(second - password->p);
}

static bool resolve_names(struct connection *k, struct config_postgres *out)
{
	struct slice user, password;
	split_userinfo(k, &user, &password);
	out->hostname = member_or(k, "hostname", k->uri.host);
	out->username = member_or(k, "username", user);
	out->password = member_or(k, "password", password);
	out->database = member_or(k, "database", k->uri.path);
	if (strchr(out->hostname, '@'))
		return refuse(k, "hostname", "PSYNC_S1106",
		              "cannot be read from the uri: a user name or password with '@' belongs into the keys username and "
		              "password");
	if (!*out->hostname)
		return refuse(k, "hostname", "PSYNC_S1106", "is missing");
	if (!*out->username)
		return refuse(k, "username", "PSYNC_S1107", "is missing");
	if (!*out->password)
		return refuse(k, "password", "PSYNC_S1108", "is missing");
	if (!*out->database)
		return refuse(k, "database", "PSYNC_S1105", "is missing");
	return true;
}

static bool check_address(struct connection *k, const char *host, const char *const *ranges, size_t count)
{
	struct ip_address ip;
	const char *rule = "";
	if (!ip_parse(host, &ip))
		return true; /* names are checked when connecting */
	switch (ip_check(&ip, ranges, count, &rule)) {
	case IP_ALLOWED:
		return true;
	case IP_REFUSED:
		return config_error_at(k->c, k->section, k->err, "PSYNC_S2203",
		                       "%s: the address %s is refused by reject_ip_ranges (%s)", k->path, host, rule);
	default:
		return refuse(k, "reject_ip_ranges", "", "holds a text that is neither a CIDR range nor \"local\"");
	}
}

/* Seconds; anything that is not positive counts as not given, but still hides the other value. */
static double positive_or(double v, double otherwise)
{
	return isfinite(v) && v > 0 ? v : otherwise;
}

static double resolve_connect_timeout(struct connection *k)
{
	const struct node *n = node_get(k->section, "connect_timeout");
	double v = 0;
	struct slice from_uri = uri_query_member(&k->uri, "connect_timeout");
	if (n)
		v = node_number(n, 0);
	else if (!from_uri.p || !number_from_text(from_uri, &v))
		v = 0;
	return positive_or(v, 20);
}

static bool resolve_slot_prefix(struct connection *k, const char **out)
{
	const char *prefix = node_text(node_get(k->section, "slot_name_prefix"), "powersync_");
	*out = prefix;
	size_t n = strspn(prefix, "abcdefghijklmnopqrstuvwxyz0123456789_");
	if (prefix[n] || n > MAX_SLOT_PREFIX)
		return refuse(k, "slot_name_prefix", "", "may hold lower-case letters, digits and underscores, at most 40");
	return true;
}

static bool resolve_heartbeat(struct connection *k, double *out)
{
	*out = node_number(node_get(k->section, "heartbeat_interval_seconds"), 60);
	if (*out < 5 || *out > 60)
		return refuse(k, "heartbeat_interval_seconds", "PSYNC_S1109", "must be from 5 to 60");
	return true;
}

static bool resolve_discovery(struct connection *k, double *out)
{
	*out = node_number(node_get(k->section, "discovery_interval_seconds"), 10);
	if (!(*out >= 0.1 && *out <= 3600))
		return refuse(k, "discovery_interval_seconds", "PSYNC_S1109", "must be from 0.1 to 3600");
	return true;
}

static bool resolve_snapshot_readers(struct connection *k, int *out)
{
	double n = node_number(node_get(k->section, "snapshot_readers"), 2);
	*out = n >= 1 && n <= MAX_SNAPSHOT_READERS ? (int)n : 0;
	if (*out != n)
		return refuse(k, "snapshot_readers", "", "must be a whole number from 1 to 16");
	return true;
}

static const char *nonempty(const struct node *n)
{
	const char *text = node_text(n, "");
	return *text ? text : NULL;
}

static bool resolve_tls(struct connection *k, struct config_postgres *out)
{
	out->sslmode = node_text(node_get(k->section, "sslmode"), "verify-full");
	out->cacert = nonempty(node_get(k->section, "cacert"));
	out->client_certificate = nonempty(node_get(k->section, "client_certificate"));
	out->client_private_key = nonempty(node_get(k->section, "client_private_key"));
	out->tls_servername = nonempty(node_get(k->section, "tls_servername"));
	if (strcmp(out->sslmode, "verify-ca") == 0 && !out->cacert)
		return refuse(k, "cacert", "PSYNC_S1104", "is required for sslmode verify-ca");
	return true;
}

bool resolve_postgres(struct config *c, const struct node *section, const char *path, struct config_postgres *out,
                      struct error *err)
{
	struct connection k = {.c = c, .section = section, .path = path, .err = err};
	struct config_string_list ranges;
	node_strings(node_get(section, "reject_ip_ranges"), &c->arena, &ranges);
	out->reject_ip_ranges = ranges.items;
	out->reject_ip_range_count = ranges.count;
	out->type = node_text(node_get(section, "type"), "");
	out->id = node_text(node_get(section, "id"), "default");
	out->tag = node_text(node_get(section, "tag"), "default");
	out->debug_api = node_flag(node_get(section, "debug_api"), false);
	out->max_pool_size = node_int(node_get(section, "max_pool_size"), 8);
	if (!split_uri(&k) || !resolve_port(&k, &out->port) || !resolve_tls(&k, out) || !resolve_names(&k, out) ||
	    !check_address(&k, out->hostname, ranges.items, ranges.count) || !resolve_heartbeat(&k, &out->heartbeat_interval_s) ||
	    !resolve_discovery(&k, &out->discovery_interval_s) || !resolve_slot_prefix(&k, &out->slot_name_prefix) ||
	    !resolve_snapshot_readers(&k, &out->snapshot_readers))
		return false;
	out->connect_timeout_s = resolve_connect_timeout(&k);
	out->snapshot_socket_timeout_s = positive_or(node_number(node_get(section, "snapshot_socket_timeout"), 0), 30);
	return true;
}

/* Each host of the list, without its port. */
static bool check_hosts(struct connection *k, struct slice authority, const struct config_mongodb *m)
{
	while (authority.n) {
		const char *comma = memchr(authority.p, ',', authority.n);
		struct slice host = slice_make(authority.p, comma ? (size_t)(comma - authority.p) : authority.n);
		authority = slice_drop(authority, host.n + 1);
		if (host.n && host.p[0] == '[') {
			host = slice_drop(host, 1);
			const char *end = memchr(host.p, ']', host.n);
			host.n = end ? (size_t)(end - host.p) : host.n;
		} else {
			const char *colon = memchr(host.p, ':', host.n);
			host.n = colon ? (size_t)(colon - host.p) : host.n;
		}
		if (host.n == 0)
			return refuse(k, "uri", "PSYNC_S1109", "has an empty host name");
		if (!check_address(k, arena_cstr(&k->c->arena, host), m->reject_ip_ranges, m->reject_ip_range_count))
			return false;
	}
	return true;
}

/* scheme://user:password@hosts/database?query, credentials and database percent-decoded (2.4). */
static bool split_mongodb_uri(struct connection *k, struct config_mongodb *m)
{
	struct arena *arena = &k->c->arena;
	struct slice text = slice_cstr(node_text(node_get(k->section, "uri"), ""));
	struct slice scheme = slice_starts(text, SLICE("mongodb+srv://")) ? SLICE("mongodb+srv://") : SLICE("mongodb://");
	if (!slice_starts(text, scheme))
		return refuse(k, "uri", "PSYNC_S1109", "must start with mongodb:// or mongodb+srv://");
	struct slice rest = slice_drop(text, scheme.n);
	size_t end = 0, at = SIZE_MAX;
	for (; end < rest.n && rest.p[end] != '/' && rest.p[end] != '?'; end++)
		if (rest.p[end] == '@')
			at = end;
	struct slice user = slice_make("", 0), password = user, hosts = slice_make(rest.p, end);
	if (at != SIZE_MAX) {
		user = slice_make(rest.p, at);
		const char *colon = memchr(user.p, ':', user.n);
		if (colon) {
			password = slice_drop(user, (size_t)(colon - user.p) + 1);
			user.n = (size_t)(colon - user.p);
		}
		hosts = slice_drop(hosts, at + 1);
	}
	rest = slice_drop(rest, end);
	if (hosts.n == 0)
		return refuse(k, "uri", "PSYNC_S1109", "has no host");
	struct slice database = slice_drop(rest, rest.n && rest.p[0] == '/');
	for (size_t i = 0; i < database.n; i++)
		if (database.p[i] == '?')
			database.n = i;
	m->username = member_or(k, "username", uri_decode(user, arena));
	m->password = member_or(k, "password", uri_decode(password, arena));
	m->database = member_or(k, "database", uri_decode(database, arena));
	m->uri = arena_printf(arena, "%.*s%.*s%.*s", SLICE_ARG(scheme), SLICE_ARG(hosts), SLICE_ARG(rest)).p;
	if (!*m->database)
		return refuse(k, "database", "PSYNC_S1105", "is missing");
	return check_hosts(k, hosts, m);
}

bool resolve_mongodb(struct config *c, const struct node *section, struct config_mongodb *out, struct error *err)
{
	struct connection k = {.c = c, .section = section, .path = "storage", .err = err};
	struct config_string_list ranges;
	node_strings(node_get(section, "reject_ip_ranges"), &c->arena, &ranges);
	out->reject_ip_ranges = ranges.items;
	out->reject_ip_range_count = ranges.count;
	out->max_pool_size = node_int(node_get(section, "max_pool_size"), 8);
	out->bulk_read_preference = node_text(node_get(section, "bulk_read_preference"), NULL);
	out->clear_batch_throttle_rate = node_number(node_get(section, "clear_batch_throttle_rate"), 0.2);
	if (!split_mongodb_uri(&k, out))
		return false;
	if (out->clear_batch_throttle_rate < 0 || out->clear_batch_throttle_rate > 20)
		return refuse(&k, "clear_batch_throttle_rate", "PSYNC_S3201", "must be from 0 to 20");
	return true;
}

static bool resolve_source(struct config *c, const struct node *section, struct error *err)
{
	static const char *const known[] = {"postgresql"};
	const struct node *type = node_get(section, "type");
	if (strcmp(node_text(type, ""), "postgresql") != 0) {
		const char *guess = config_suggest(type->text, known, 1);
		return config_error_at(c, type, err, "", "replication.connections[0].type must be postgresql%s",
		                       guess ? " (misspelt?)" : "; other sources are not supported");
	}
	return resolve_postgres(c, section, "replication.connections[0]", &c->source, err);
}

bool config_resolve_connections(struct config *c, struct error *err)
{
	const struct node *storage = node_get(c->document, "storage");
	const struct node *connections = node_at(c->document, "replication.connections");
	if (c->has_source && !resolve_source(c, connections->list.items[0], err))
		return false;
	if (strcmp(c->storage.type, "postgresql") == 0)
		return resolve_postgres(c, storage, "storage", &c->storage.postgres, err);
	if (strcmp(c->storage.type, "mongodb") == 0) {
		if (!resolve_mongodb(c, storage, &c->storage.mongodb, err))
			return false;
		c->storage.mongodb_uri = c->storage.mongodb.uri;
	}
	return true;
}
