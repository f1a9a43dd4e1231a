/*
 * jwks_kept.h: the last good answer of a JWKS URL on disk, so that a restart while the URL is down refuses nobody whom the service would
 * have let in without the restart (an addition of Syncline to auth 3.3).
 *
 * One file per URL, "jwks-<start of the SHA-256 of the URL>.keys", mode 0600: the time of the fetch (milliseconds since 1970, decimal), a
 * line end, and the body as it came. Public keys only; the URL, which may hold a password, is not in it. Replaced by rename. A file that
 * is missing, too old, from the future or unreadable counts as none: then the URL is asked, as at a first start.
 */
#ifndef SYNCLINE_AUTH_JWKS_KEPT_H
#define SYNCLINE_AUTH_JWKS_KEPT_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/key.h"
#include "base/buf.h"

/* The body and how long ago it was fetched. False: there is none that is younger than max_age_ms. */
bool jwks_kept_read(const char *folder, const char *url, const struct crypto *crypto, int64_t max_age_ms, struct buf *body,
                    int64_t *age_ms);
/* An empty body removes what is kept. A failure is no error: the file only helps later. The folder is not made. */
void jwks_kept_write(const char *folder, const char *url, const struct crypto *crypto, struct slice body);

#endif
