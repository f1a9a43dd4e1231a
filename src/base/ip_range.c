/* ip_range.c: see ip_range.h. */
#include "base/ip_range.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

bool ip_parse(const char *text, struct ip_address *out)
{
	struct in_addr v4;
	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET6, text, out->bytes) == 1) {
		out->v6 = true;
		return true;
	}
	if (text[0] < '0' || text[0] > '9' || strpbrk(text, " \t\n") || !inet_aton(text, &v4))
		return false;
	memcpy(out->bytes, &v4, 4);
	return true;
}

bool ip_from_socket(const struct sockaddr *address, struct ip_address *out)
{
	memset(out, 0, sizeof(*out));
	if (address->sa_family == AF_INET) {
		memcpy(out->bytes, &((const struct sockaddr_in *)address)->sin_addr, 4);
		return true;
	}
	out->v6 = address->sa_family == AF_INET6;
	if (out->v6)
		memcpy(out->bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
	return out->v6;
}

static bool ip_prefix_matches(const uint8_t *address, const uint8_t *range, unsigned bits)
{
	if (memcmp(address, range, bits / 8) != 0)
		return false;
	unsigned rest = bits % 8;
	return rest == 0 || ((address[bits / 8] ^ range[bits / 8]) >> (8 - rest)) == 0;
}

static bool ip_mapped_v4(const struct ip_address *ip, struct ip_address *v4)
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
	if (!ip->v6 || memcmp(ip->bytes, mapped, 12) != 0)
		return false;
	memset(v4, 0, sizeof(*v4));
	memcpy(v4->bytes, ip->bytes + 12, 4);
	return true;
}

/* False: the text is not a range. */
static bool ip_in_cidr(const struct ip_address *ip, const char *range, bool *inside)
{
	char text[64];
	const char *slash = strchr(range, '/');
	size_t n = slash ? (size_t)(slash - range) : 0;
	struct ip_address base;
	char *end = NULL;
	*inside = false;
	if (!slash || n >= sizeof(text) || slash[1] < '0' || slash[1] > '9')
		return false;
	memcpy(text, range, n);
	text[n] = '\0';
	unsigned long bits = strtoul(slash + 1, &end, 10);
	memset(&base, 0, sizeof(base));
	base.v6 = inet_pton(AF_INET6, text, base.bytes) == 1;
	if (!base.v6 && inet_pton(AF_INET, text, base.bytes) != 1)
		return false;
	if (*end || bits > (base.v6 ? 128u : 32u))
		return false;
	struct ip_address v4;
	if (base.v6 == ip->v6)
		*inside = ip_prefix_matches(ip->bytes, base.bytes, (unsigned)bits);
	if (!base.v6 && ip_mapped_v4(ip, &v4))
		*inside = ip_prefix_matches(v4.bytes, base.bytes, (unsigned)bits);
	return true;
}

/* The IANA special-purpose registries (RFC 6890 and updates), and everything of IPv6 outside 2000::/3. */
static bool ip_is_local(const struct ip_address *ip)
{
	static const char *const v4[] = {
	        "0.0.0.0/8",       "10.0.0.0/8",    "100.64.0.0/10",   "127.0.0.0/8",     "169.254.0.0/16", "172.16.0.0/12",
	        "192.0.0.0/24",    "192.0.2.0/24",  "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16",
	        "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",  "224.0.0.0/4",    "240.0.0.0/4",
	};
	static const char *const v6[] = {"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"};
	bool inside = false;
	if (!ip->v6) {
		for (size_t i = 0; i < sizeof(v4) / sizeof(v4[0]) && !inside; i++)
			ip_in_cidr(ip, v4[i], &inside);
		return inside;
	}
	if ((ip->bytes[0] & 0xE0) != 0x20)
		return true;
	for (size_t i = 0; i < sizeof(v6) / sizeof(v6[0]) && !inside; i++)
		ip_in_cidr(ip, v6[i], &inside);
	return inside;
}

enum ip_verdict ip_check(const struct ip_address *ip, const char *const *ranges, size_t count, const char **rule)
{
	for (size_t i = 0; i < count; i++) {
		bool inside;
		*rule = ranges[i];
		if (strcmp(ranges[i], "local") == 0)
			inside = ip_is_local(ip);
		else if (!ip_in_cidr(ip, ranges[i], &inside))
			return IP_BAD_RANGE;
		if (inside)
			return IP_REFUSED;
	}
	return IP_ALLOWED;
}
