/* jwks_url.h: which JWKS URLs and addresses may be asked (configuration 2.6, auth 3.5). */
#ifndef SYNCLINE_AUTH_JWKS_URL_H
#define SYNCLINE_AUTH_JWKS_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/ip_range.h"

struct address_rules {
	const char *const *ranges; /* CIDR or "local" */
	size_t range_count;
	bool block_ipv6;
};

/* PSYNC_S3102 no URL, S3103 other scheme, S2203 and S2202 refused address, "" malformed range. Names are checked when connecting. */
bool jwks_url_check(const char *url, const struct address_rules *rules, struct error *err);
bool address_check(const struct ip_address *ip, const struct address_rules *rules, struct error *err);

#endif
