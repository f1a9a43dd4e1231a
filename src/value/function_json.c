/* function_json.c: the JSON functions, sync-config 11.2 and 11.3. */
#include "value/function_groups.h"
#include "value/json.h"

bool function_json_extract(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	const struct value *x = function_arg(args, n, 0), *path = function_arg(args, n, 1);
	struct json_node root;
	*out = value_null();
	if (value_is_null(x) || value_is_null(path))
		return true;
	if (!json_read(value_text_form(x, ctx->arena), JSON_EXACT, ctx->arena, &root, err))
		return error_prefix(err, "json_extract: ");
	struct slice p = value_text_form(path, ctx->arena);
	if (root.kind == JSON_KIND_NULL)
		return true;
	if (p.n == 0 || p.p[0] != '$')
		return error_set(err, "", "json_extract: the path must start with '$'");
	return json_arrow_node(&root, p, false, ctx->fixed_json_extract, ctx->arena, out, err);
}

bool function_json_array_length(struct function_context *ctx, const struct value *args, size_t n, struct value *out,
                                struct error *err)
{
	struct value x = *function_arg(args, n, 0);
	struct json_node root;
	*out = value_null();
	if (!value_is_null(function_arg(args, n, 1)) && !function_json_extract(ctx, args, n, &x, err))
		return false;
	if (value_is_null(&x))
		return true;
	if (!json_read(value_text_form(&x, ctx->arena), JSON_EXACT, ctx->arena, &root, err))
		return error_prefix(err, "json_array_length: ");
	*out = value_integer(root.kind == JSON_KIND_ARRAY ? (int64_t)root.array.count : 0);
	return true;
}

bool function_json_valid(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	(void)err;
	const struct value *x = function_arg(args, n, 0);
	struct json_node root;
	*out = value_integer(!value_is_null(x) && json_read(value_text_form(x, ctx->arena), JSON_EXACT, ctx->arena, &root, NULL));
	return true;
}

bool function_json_keys(struct function_context *ctx, const struct value *args, size_t n, struct value *out, struct error *err)
{
	const struct value *x = function_arg(args, n, 0);
	struct json_node root;
	*out = value_null();
	if (value_is_null(x))
		return true;
	if (!json_read(value_text_form(x, ctx->arena), JSON_EXACT, ctx->arena, &root, err))
		return error_prefix(err, "json_keys: ");
	if (root.kind != JSON_KIND_OBJECT)
		return error_set(err, "", "json_keys: not a JSON object");
	struct buf text = {0};
	buf_putc(&text, '[');
	for (size_t i = 0; i < root.object.count; i++) {
		if (i)
			buf_putc(&text, ',');
		json_append_string(&text, root.object.members[i].key);
	}
	buf_putc(&text, ']');
	*out = value_text(arena_copy(ctx->arena, buf_slice(&text)));
	buf_free(&text);
	return true;
}
