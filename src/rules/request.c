/* request.c: values of the token and of the client's parameters. */
#include "rules/request.h"

#include <math.h>

/* Levels of arrays and objects that a member may have (sync-config 18). */
#define MAX_MEMBER_DEPTH 11

static bool members_fit(const struct json_node *object)
{
	if (object->kind != JSON_KIND_OBJECT)
		return true;
	for (size_t i = 0; i < object->object.count; i++)
		if (json_depth(&object->object.members[i].value) > MAX_MEMBER_DEPTH)
			return false;
	return true;
}

static const struct json_node *token_parameters(const struct request_data *r)
{
	return json_find(&r->token, SLICE("parameters"));
}

bool request_data_read(struct request_data *r, struct slice token, struct slice client, struct arena *arena, struct error *err)
{
	*r = (struct request_data){0};
	struct error json;
	token = arena_copy(arena, token);
	client = client.p ? arena_copy(arena, client) : SLICE("{}");
	if (!json_read(token, JSON_DOUBLES, arena, &r->token, &json) || r->token.kind != JSON_KIND_OBJECT)
		return error_set(err, "PSYNC_S2001", "the token's payload is not a JSON object");
	if (!json_read(client, JSON_DOUBLES, arena, &r->client, &json))
		return error_set(err, "PSYNC_S2001", "the client parameters are not JSON");
	if (r->client.kind == JSON_KIND_NULL)
		json_read(SLICE("{}"), JSON_DOUBLES, arena, &r->client, &json);
	const struct json_node *parameters = token_parameters(r);
	if ((parameters && !members_fit(parameters)) || !members_fit(&r->client))
		return error_set(err, "PSYNC_S1004", "json nested object depth exceeds the limit of %d", MAX_MEMBER_DEPTH);
	r->token_text = value_text(json_to_text(&r->token, JSON_STYLE_PLAIN, arena));
	r->client_text = value_text(json_to_text(&r->client, JSON_STYLE_PLAIN, arena));
	return true;
}

/* A member of token_parameters or user_parameters as a value. Whole numbers beyond 64 bits stay REAL. */
static bool member_value(const struct json_node *n, struct arena *arena, struct value *out, struct error *err)
{
	if (!n) {
		*out = (struct value){.kind = VALUE_ABSENT};
		return true;
	}
	if (n->kind == JSON_KIND_REAL) {
		bool whole = n->r == floor(n->r) && n->r >= -9223372036854775808.0 && n->r < 9223372036854775808.0;
		*out = whole ? value_integer((int64_t)n->r) : value_real(n->r);
		return true;
	}
	if (n->kind == JSON_KIND_ARRAY || n->kind == JSON_KIND_OBJECT) {
		*out = value_text(json_to_text(n, JSON_STYLE_PLAIN | JSON_STYLE_BOOLEANS_AS_NUMBERS, arena));
		return true;
	}
	return json_to_value(n, arena, out, err);
}

static bool user_id_value(const struct request_data *r, struct arena *arena, struct value *out, struct error *err)
{
	const struct json_node *sub = json_find(&r->token, SLICE("sub"));
	*out = value_null();
	return !sub || json_to_value(sub, arena, out, err);
}

static bool token_member_value(const struct request_data *r, struct slice name, struct arena *arena, struct value *out,
                               struct error *err)
{
	if (slice_eq(name, SLICE("user_id"))) {
		const struct json_node *sub = json_find(&r->token, SLICE("sub"));
		if (sub)
			return member_value(sub, arena, out, err);
	}
	const struct json_node *parameters = token_parameters(r);
	return member_value(parameters ? json_find(parameters, name) : NULL, arena, out, err);
}

/* request.parameter(p): the paths of fixed_json_extract, on the flat converted members (15.1). */
static bool client_parameter_value(const struct request_data *r, struct slice path, struct arena *arena, struct value *out,
                                   struct error *err)
{
	struct slice name = path;
	*out = value_null();
	if (path.n && path.p[0] == '$') {
		const char *dot = memchr(path.p, '.', path.n);
		if (!dot) {
			*out = value_text(json_to_text(&r->client, JSON_STYLE_PLAIN | JSON_STYLE_BOOLEANS_AS_NUMBERS, arena));
			return true;
		}
		name = slice_drop(path, (size_t)(dot + 1 - path.p));
		if (memchr(name.p, '.', name.n))
			return true; /* members are flat texts: no way into them */
	}
	return member_value(json_find(&r->client, name), arena, out, err) &&
	       (out->kind != VALUE_ABSENT || (*out = value_null(), true));
}

bool request_value(struct eval_env *env, enum request_source source, struct slice name, struct value *out)
{
	const struct request_data *r = env->request;
	switch (source) {
	case REQUEST_USER_ID:
		return user_id_value(r, env->arena, out, env->err);
	case REQUEST_JWT:
		*out = r->token_text;
		return true;
	case REQUEST_CLIENT:
		*out = r->client_text;
		return true;
	case REQUEST_SUBSCRIPTION:
		*out = env->subscription;
		return true;
	case REQUEST_SUBSCRIPTION_OBJECT:
		*out = env->subscription.kind == VALUE_NULL ? value_text(SLICE("{}")) : env->subscription;
		return true;
	case REQUEST_TOKEN_MEMBER:
		return token_member_value(r, name, env->arena, out, env->err);
	case REQUEST_CLIENT_MEMBER:
		return member_value(json_find(&r->client, name), env->arena, out, env->err);
	case REQUEST_CLIENT_PARAMETER:
		return client_parameter_value(r, name, env->arena, out, env->err);
	}
	return error_set(env->err, "", "unknown request value");
}

const struct json_node *request_node(const struct request_data *r, enum request_source source,
                                     const struct json_node *subscription)
{
	switch (source) {
	case REQUEST_JWT:
		return &r->token;
	case REQUEST_CLIENT:
		return &r->client;
	case REQUEST_SUBSCRIPTION:
	case REQUEST_SUBSCRIPTION_OBJECT:
		return subscription;
	default:
		return NULL;
	}
}
