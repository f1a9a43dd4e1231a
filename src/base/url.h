/* url.h: what may be shown of a URL. */
#ifndef SYNCLINE_BASE_URL_H
#define SYNCLINE_BASE_URL_H

#include "base/slice.h"

/* "user:password" of "scheme://user:password@host/path", n == 0: there is none, or not even a scheme. A password with '/', '?' or '#' that
 * was not escaped is found, too, and where that cannot be told from a path rather too much is; an '@' in the path of a URL without credentials
 * ("https://host/jwk/me@host") is none. */
struct slice url_credentials(struct slice url);

#endif
