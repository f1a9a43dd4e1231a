/*
 * jwks_fetch.c: one GET of a JWKS URL with libcurl (auth 3.1, 3.5).
 *
 * Proxies of the environment are not used: with a proxy the addresses that are connected to could not be checked.
 */
#include "auth/jwks_fetch.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "auth/jwks_url.h"

#define TIME_LIMIT 30L
#define MAX_REDIRECTS 20L
#define MAX_BODY (4u * 1024 * 1024) /* after decompression */

struct fetch {
	const struct address_rules *rules;
	const atomic_bool *stop;
	struct buf *body;
	struct error refused; /* why an address was not connected to */
	bool too_large;
};

static size_t on_data(char *p, size_t size, size_t count, void *context)
{
	struct fetch *f = context;
	size_t n = size * count;
	if (f->body->n + n > MAX_BODY) {
		f->too_large = true;
		return 0;
	}
	buf_append(f->body, p, n);
	return n;
}

static int on_progress(void *context, curl_off_t total, curl_off_t now, curl_off_t total_up, curl_off_t now_up)
{
	(void)total, (void)now, (void)total_up, (void)now_up;
	struct fetch *f = context;
	return atomic_load(f->stop);
}

static curl_socket_t on_socket(void *context, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct fetch *f = context;
	struct ip_address ip;
	if (purpose != CURLSOCKTYPE_IPCXN || !ip_from_socket(&address->addr, &ip) || !address_check(&ip, f->rules, &f->refused))
		return CURL_SOCKET_BAD;
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void set_options(CURL *curl, struct fetch *f, const char *url, struct curl_slist *headers, char *error_text)
{
	/* Once encrypted, always encrypted. */
	bool https = strncasecmp(url, "https:", 6) == 0;
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "gzip, deflate, br");
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "syncline");
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, https ? "https" : "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
	curl_easy_setopt(curl, CURLOPT_MAXREDIRS, MAX_REDIRECTS);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIME_LIMIT);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, f);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, f);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, f);
}

static bool judge(CURL *curl, CURLcode code, const struct fetch *f, const char *error_text, char cause[JWKS_CAUSE_SIZE])
{
	long status = 0;
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (f->too_large)
		snprintf(cause, JWKS_CAUSE_SIZE, "the answer is larger than %u bytes", MAX_BODY);
	else if (code != CURLE_OK && f->refused.code)
		snprintf(cause, JWKS_CAUSE_SIZE, "[%s] %.200s", f->refused.code, f->refused.message);
	else if (code != CURLE_OK)
		snprintf(cause, JWKS_CAUSE_SIZE, "%.200s", *error_text ? error_text : curl_easy_strerror(code));
	else if (status < 200 || status > 299)
		snprintf(cause, JWKS_CAUSE_SIZE, "the server answered with status %ld", status);
	else
		return true;
	return false;
}

bool jwks_fetch_http(void *context, const char *url, const atomic_bool *stop, struct buf *body, char cause[JWKS_CAUSE_SIZE])
{
	struct fetch f = {.rules = context, .stop = stop, .body = body};
	char error_text[CURL_ERROR_SIZE] = "";
	CURL *curl = curl_easy_init();
	if (!curl) {
		snprintf(cause, JWKS_CAUSE_SIZE, "libcurl does not start");
		return false;
	}
	struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
	set_options(curl, &f, url, headers, error_text);
	bool ok = judge(curl, curl_easy_perform(curl), &f, error_text, cause);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return ok;
}
