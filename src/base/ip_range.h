/*
 * ip_range.h: addresses that the service must not connect to (configuration 2.3 reject_ip_ranges, auth 3.5).
 *
 * A rule is a CIDR range, or "local": everything that is not public unicast. IPv4-mapped IPv6 addresses are held against IPv4 ranges
 * too. Pure functions, any thread.
 */
#ifndef SYNCLINE_BASE_IP_RANGE_H
#define SYNCLINE_BASE_IP_RANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

struct ip_address {
	bool v6;
	uint8_t bytes[16]; /* 4 of them for IPv4 */
};

/* Also the old numeric forms of IPv4 (2130706433, 0x7f.1), which resolvers accept. False: the text is no address. */
bool ip_parse(const char *text, struct ip_address *out);
/* False: neither IPv4 nor IPv6. */
bool ip_from_socket(const struct sockaddr *address, struct ip_address *out);

enum ip_verdict { IP_ALLOWED, IP_REFUSED, IP_BAD_RANGE };

/* *rule: the one that refused it or is malformed. */
enum ip_verdict ip_check(const struct ip_address *ip, const char *const *ranges, size_t count, const char **rule);

#endif
