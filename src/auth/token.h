/* token.h: a client token taken apart, and the checks on its header and payload (auth 4). */
#ifndef SYNCLINE_AUTH_TOKEN_H
#define SYNCLINE_AUTH_TOKEN_H

#include <stdbool.h>

#include "auth/key.h"
#include "base/arena.h"
#include "base/error.h"

#define TOKEN_MALFORMED "Token is not a well-formed JWT. Check the token format."
#define LIFETIME_DEFAULT 86400
#define LIFETIME_SUPABASE 606000

struct token {
	struct slice signed_text; /* header.payload as sent */
	struct slice header_text, payload_part, signature;
	struct json_node header;
	enum token_algorithm alg;
	struct slice kid; /* n == 0: none that could match */
	bool unencoded;   /* b64: false */

	struct slice payload_text; /* after token_read_payload */
	struct json_node payload;
	double exp, nbf; /* after token_check_claims; nbf is -infinity without the claim */
};

/* Steps 1 to 5. All memory in the arena; slices may point into text. */
bool token_parse(struct slice text, struct arena *arena, struct token *out, struct error *err);
/* Steps 9 and 10. */
bool token_read_payload(struct token *t, struct arena *arena, struct error *err);

/* Steps 11 to 19. */
struct claim_rules {
	const char *const *audience;
	size_t audience_count;
	double max_lifetime; /* seconds */
};
bool token_check_claims(struct token *t, const struct claim_rules *rules, int64_t now_s, struct arena *arena, struct error *err);
/* Steps 13 and 15 alone, for a token that passed them before. */
bool token_check_times(double exp, double nbf, int64_t now_s, struct error *err);

/* User id string (auth 4.1), in the arena. */
struct slice token_user_id(const struct token *t, struct arena *arena);

#endif
