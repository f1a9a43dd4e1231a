/* jwks_url.c: see jwks_url.h. libcurl's parser turns all spellings of an IPv4 address into one. */
#include "auth/jwks_url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include "base/slice.h"
#include "base/url.h"

/* URLs may carry a password: then they are not shown. */
static bool invalid(const char *url, struct error *err)
{
	bool show = url_credentials(slice_cstr(url)).n == 0 && strlen(url) < 300;
	return error_set(err, "PSYNC_S3102", "Invalid jwks_uri: \"%s\" Details: Invalid URL", show ? url : "...");
}

bool address_check(const struct ip_address *ip, const struct address_rules *rules, struct error *err)
{
	char text[INET6_ADDRSTRLEN];
	const char *rule = "";
	if (ip->v6 && rules->block_ipv6)
		return error_set(err, "PSYNC_S2202", "IPv6 support not enabled for JWKS URI");
	switch (ip_check(ip, rules->ranges, rules->range_count, &rule)) {
	case IP_ALLOWED:
		return true;
	case IP_REFUSED:
		inet_ntop(ip->v6 ? AF_INET6 : AF_INET, ip->bytes, text, sizeof(text));
		return error_set(err, "PSYNC_S2203", "IPs in this range are not supported: %s", text);
	default:
		return error_set(err, "", "client_auth.jwks_reject_ip_ranges: \"%.100s\" is neither a CIDR range nor \"local\"",
		                 rule);
	}
}

static bool check_host(char *host, const struct address_rules *rules, struct error *err)
{
	struct ip_address ip;
	size_t n = strlen(host);
	if (n > 1 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		host++;
	}
	return !ip_parse(host, &ip) || address_check(&ip, rules, err);
}

bool jwks_url_check(const char *url, const struct address_rules *rules, struct error *err)
{
	CURLU *parsed = curl_url();
	char *scheme = NULL, *host = NULL;
	bool ok = parsed && strstr(url, "://") &&
	          curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
	          curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
	          curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK;
	if (!ok)
		invalid(url, err);
	else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
		ok = error_set(err, "PSYNC_S3103", "Only http(s) is supported for jwks_uri, got: \"%s\"",
		               url_credentials(slice_cstr(url)).n ? scheme : url);
	else
		ok = check_host(host, rules, err);
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(parsed);
	return ok;
}
