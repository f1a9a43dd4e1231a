/*
 * trace_match.h: recorded lines against lines that came.
 *
 * Two things are checked. The model is a client: it adds up what it receives and compares with the checksums at each complete line, so
 * wrong sums, gaps, repeated operations and misplaced lines show whatever the recording says. The comparison binds the names of the
 * recording ($op1, $cp1, $sk1, bucket names) to what came, and tolerates what the README of the traces lists.
 */
#ifndef TESTS_VECTORS_TRACE_MATCH_H
#define TESTS_VECTORS_TRACE_MATCH_H

#include <ctype.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct match {
	json_t *bound;   /* "$op1" -> text, "bucket 1#lists|0[]" -> name */
	json_t *owner;   /* what came -> the name that is bound to it, for kinds where each stands for one thing */
	json_t *history; /* bucket -> {op id: checksum}, of everything seen on any stream */
	char why[16384];
};

static bool differ(struct match *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool differ(struct match *m, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(m->why, sizeof(m->why), format, args);
	va_end(args);
	return false;
}

static const char *str(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));
	return s ? s : "";
}

static unsigned long long number_of(const char *text)
{
	return strtoull(text, NULL, 10);
}

static uint32_t short_digest(const char *prefix, const char *text)
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	EVP_DigestInit_ex(c, EVP_sha256(), NULL);
	EVP_DigestUpdate(c, prefix, strlen(prefix));
	EVP_DigestUpdate(c, text, strlen(text));
	EVP_DigestFinal_ex(c, sum, NULL);
	EVP_MD_CTX_free(c);
	return sum[0] | (uint32_t)sum[1] << 8 | (uint32_t)sum[2] << 16 | (uint32_t)sum[3] << 24;
}

static const char *only_key(json_t *line)
{
	void *at = json_object_iter(line);
	return at && json_object_size(line) == 1 ? json_object_iter_key(at) : "";
}

static bool is_line(json_t *line, const char *key)
{
	return json_object_get(line, key) != NULL;
}

/* ---- the model -------------------------------------------------------------------------------------------------------------------- */

struct model {
	json_t *positions; /* of the request: bucket -> op id as text */
	json_t *buckets;   /* bucket -> {at, sum, known, checksum, priority} */
	json_t *rows;      /* bucket + type + id -> data */
	char last_op[32];
	bool started;
};

static void set_number(json_t *o, const char *key, json_int_t v)
{
	json_object_set_new(o, key, json_integer(v));
}

static json_int_t get_number(const json_t *o, const char *key)
{
	return (json_int_t)json_number_value(json_object_get(o, key));
}

/* The client's sum at its position can be told if it begins at 0, or if other streams have shown all before it. */
static json_t *model_bucket(struct match *m, struct model *o, const char *name)
{
	json_t *b = json_object_get(o->buckets, name);
	if (b)
		return b;
	b = json_object();
	const char *at = o->started ? "" : str(o->positions, name);
	json_t *seen = json_object_get(m->history, name), *checksum;
	uint32_t sum = 0;
	const char *op;
	bool beyond = number_of(at) > 0 && !seen;
	json_object_foreach(seen, op, checksum) if (number_of(op) <= number_of(at)) sum += (uint32_t)json_integer_value(checksum);
	json_object_set_new(b, "at", json_string(*at ? at : "0"));
	set_number(b, "sum", sum);
	json_object_set_new(b, "known", json_boolean(!beyond));
	json_object_set_new(o->buckets, name, b);
	return b;
}

static void model_take_buckets(struct match *m, struct model *o, json_t *list)
{
	size_t i;
	json_t *entry;
	json_array_foreach(list, i, entry)
	{
		json_t *b = model_bucket(m, o, str(entry, "bucket"));
		set_number(b, "checksum", get_number(entry, "checksum"));
		set_number(b, "priority", get_number(entry, "priority"));
		set_number(b, "stated", 1);
	}
}

static bool model_checkpoint(struct match *m, struct model *o, json_t *c)
{
	const char *name;
	void *next;
	json_t *b, *list = json_object_get(c, "buckets");
	json_object_foreach(o->buckets, name, b) set_number(b, "stated", 0);
	model_take_buckets(m, o, list);
	json_object_foreach_safe(o->buckets, next, name, b) if (!get_number(b, "stated")) json_object_del(o->buckets, name);
	snprintf(o->last_op, sizeof(o->last_op), "%s", str(c, "last_op_id"));
	o->started = true;
	return true;
}

static bool model_diff(struct match *m, struct model *o, json_t *c)
{
	size_t i;
	json_t *name;
	if (!o->started)
		return differ(m, "a checkpoint_diff before any checkpoint");
	if (number_of(str(c, "last_op_id")) < number_of(o->last_op))
		return differ(m, "the checkpoint goes back from %s to %s", o->last_op, str(c, "last_op_id"));
	json_array_foreach(json_object_get(c, "removed_buckets"), i,
	                   name) if (json_object_del(o->buckets, json_string_value(name)) !=
	                             0) return differ(m, "removed bucket %s was never there", json_string_value(name));
	model_take_buckets(m, o, json_object_get(c, "updated_buckets"));
	snprintf(o->last_op, sizeof(o->last_op), "%s", str(c, "last_op_id"));
	return true;
}

static void model_row(struct model *o, const char *bucket, json_t *op)
{
	char key[1024], prefix[600];
	const char *kind = str(op, "op"), *k;
	void *next;
	json_t *row;
	snprintf(prefix, sizeof(prefix), "%s ", bucket + strspn(bucket, "0123456789#"));
	if (strcmp(kind, "CLEAR") == 0)
		json_object_foreach_safe(o->rows, next, k, row) if (strncmp(k, prefix, strlen(prefix)) == 0)
		        json_object_del(o->rows, k);
	snprintf(key, sizeof(key), "%s%s/%s", prefix, str(op, "object_type"), str(op, "object_id"));
	if (strcmp(kind, "PUT") == 0)
		json_object_set(o->rows, key, json_object_get(op, "data"));
	else if (strcmp(kind, "REMOVE") == 0)
		json_object_del(o->rows, key);
}

static bool model_op(struct match *m, struct model *o, const char *bucket, json_t *b, json_t *op)
{
	const char *id = str(op, "op_id"), *kind = str(op, "op");
	uint32_t checksum = (uint32_t)get_number(op, "checksum"), sum = (uint32_t)get_number(b, "sum");
	if (number_of(id) <= number_of(str(b, "at")) || number_of(id) > number_of(o->last_op))
		return differ(m, "%s: operation %s, but the position is %s and the checkpoint %s", bucket, id, str(b, "at"),
		              o->last_op);
	if (strcmp(kind, "REMOVE") == 0 && checksum != short_digest("delete.", str(op, "subkey")))
		return differ(m, "%s: checksum of REMOVE %s is not that of its subkey", bucket, id);
	json_t *seen = json_object_get(m->history, bucket);
	if (!seen) {
		seen = json_object();
		json_object_set_new(m->history, bucket, seen);
	}
	if (!json_object_get(seen, id))
		set_number(seen, id, checksum);
	set_number(b, "sum", (uint32_t)(strcmp(kind, "CLEAR") == 0 ? checksum : sum + checksum));
	json_object_set_new(b, "at", json_string(id));
	model_row(o, bucket, op);
	return true;
}

static bool model_data(struct match *m, struct model *o, json_t *d)
{
	const char *bucket = str(d, "bucket"), *next = str(d, "next_after");
	json_t *b = json_object_get(o->buckets, bucket), *ops = json_object_get(d, "data"), *op;
	size_t i, bytes = 0, last = 0;
	if (!b)
		return differ(m, "data of %s, which no checkpoint line named", bucket);
	if (strcmp(str(d, "after"), str(b, "at")) != 0)
		return differ(m, "%s: data after %s, but the position is %s", bucket, str(d, "after"), str(b, "at"));
	json_array_foreach(ops, i, op)
	{
		if (!model_op(m, o, bucket, b, op))
			return false;
		last = json_string_length(json_object_get(op, "data"));
		bytes += last;
	}
	if (json_array_size(ops) == 0 || json_array_size(ops) > 1000 || (bytes - last >= 1024 * 1024))
		return differ(m, "%s: a data line of %zu operations and %zu bytes", bucket, json_array_size(ops), bytes);
	if (number_of(next) < number_of(str(b, "at")) || number_of(next) > number_of(o->last_op))
		return differ(m, "%s: next_after %s, last operation %s, checkpoint %s", bucket, next, str(b, "at"), o->last_op);
	json_object_set_new(b, "at", json_string(next));
	return true;
}

static bool model_complete(struct match *m, struct model *o, json_t *c, json_int_t priority)
{
	const char *name;
	json_t *b;
	if (strcmp(str(c, "last_op_id"), o->last_op) != 0)
		return differ(m, "a complete line for %s, but the checkpoint is %s", str(c, "last_op_id"), o->last_op);
	json_object_foreach(
	        o->buckets, name,
	        b) if (get_number(b, "priority") <= priority && json_is_true(json_object_get(b, "known")) &&
	               (int32_t)(uint32_t)get_number(b, "sum") !=
	                       get_number(b,
	                                  "checksum")) return differ(m,
	                                                             "%s: the operations add up to %d, the checkpoint says %lld",
	                                                             name, (int)(int32_t)(uint32_t)get_number(b, "sum"),
	                                                             (long long)get_number(b, "checksum"));
	return true;
}

static bool model_line(struct match *m, struct model *o, json_t *line)
{
	json_t *value = json_object_get(line, only_key(line));
	if (is_line(line, "checkpoint"))
		return model_checkpoint(m, o, value);
	if (is_line(line, "checkpoint_diff"))
		return model_diff(m, o, value);
	if (is_line(line, "data"))
		return model_data(m, o, value);
	if (is_line(line, "partial_checkpoint_complete"))
		return model_complete(m, o, value, get_number(value, "priority"));
	if (is_line(line, "checkpoint_complete"))
		return model_complete(m, o, value, 1000);
	return is_line(line, "token_expires_in") || differ(m, "a line of unknown kind");
}

static struct model *model_new(void)
{
	struct model *o = calloc(1, sizeof(*o));
	o->positions = json_object();
	o->buckets = json_object();
	o->rows = json_object();
	return o;
}

static void model_free(struct model *o)
{
	json_decref(o->positions);
	json_decref(o->buckets);
	json_decref(o->rows);
	free(o);
}

/* ---- names ------------------------------------------------------------------------------------------------------------------------- */

static bool bind_name(struct match *m, const char *name, const char *value, bool exclusive)
{
	const char *have = json_string_value(json_object_get(m->bound, name));
	char key[2048];
	if (have)
		return strcmp(have, value) == 0 || differ(m, "%s was %s and is now %s", name, have, value);
	snprintf(key, sizeof(key), "%.3s %s", name, value);
	const char *owner = json_string_value(json_object_get(m->owner, key));
	if (exclusive && owner)
		return differ(m, "%s is %s, but that is %s already", name, value, owner);
	json_object_set_new(m->owner, key, json_string(name));
	json_object_set_new(m->bound, name, json_string(value));
	return true;
}

static const char *without_number(const char *bucket)
{
	const char *p = bucket + strspn(bucket, "0123456789");
	return p > bucket && *p == '#' ? p + 1 : bucket;
}

static bool same_bucket(struct match *m, const char *expected, const char *came)
{
	char name[1024];
	if (strcmp(without_number(expected), without_number(came)) != 0)
		return differ(m, "bucket %s instead of %s", came, expected);
	if (came == without_number(came))
		return differ(m, "bucket name %s does not begin with a number", came);
	snprintf(name, sizeof(name), "bucket %s", expected);
	return bind_name(m, name, came, true);
}

/* ---- values ------------------------------------------------------------------------------------------------------------------------ */

static bool compare(struct match *m, const char *key, json_t *e, json_t *a);

static int by_bucket(const void *a, const void *b)
{
	json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
	const char *p = json_is_string(x) ? json_string_value(x) : str(x, "bucket");
	const char *q = json_is_string(y) ? json_string_value(y) : str(y, "bucket");
	return strcmp(without_number(p), without_number(q));
}

static json_t **sorted(json_t *list)
{
	json_t **out = calloc(json_array_size(list) + 1, sizeof(*out));
	for (size_t i = 0; i < json_array_size(list); i++)
		out[i] = json_array_get(list, i);
	qsort(out, json_array_size(list), sizeof(*out), by_bucket);
	return out;
}

static bool compare_buckets(struct match *m, json_t *e, json_t *a)
{
	bool ok = json_array_size(e) == json_array_size(a) ||
	          differ(m, "%zu buckets instead of %zu", json_array_size(a), json_array_size(e));
	json_t **x = sorted(e), **y = sorted(a);
	for (size_t i = 0; ok && i < json_array_size(e); i++)
		ok = compare(m, "bucket", x[i], y[i]);
	free(x);
	free(y);
	return ok;
}

static size_t characters(const char *s)
{
	size_t n = 0;
	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static bool compare_long(struct match *m, json_t *e, json_t *a)
{
	const char *text = json_string_value(a), *start = str(e, "$start");
	unsigned char sum[EVP_MAX_MD_SIZE];
	char hex[65];
	if (!text)
		return differ(m, "a long text is missing");
	EVP_Digest(text, strlen(text), sum, NULL, EVP_sha256(), NULL);
	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	return (strncmp(text, start, strlen(start)) == 0 && (json_int_t)characters(text) == get_number(e, "$long") &&
	        strcmp(hex, str(e, "$sha256")) == 0) ||
	       differ(m, "a long text of %zu characters differs", characters(text));
}

static bool compare_text(struct match *m, const char *key, const char *e, json_t *a)
{
	static const char free_text[] = "Error evaluating bucket ids: ";
	const char *came = json_string_value(a);
	char number[32];
	if (strcmp(e, "$sum") == 0 || strncmp(e, "$ck", 3) == 0) {
		if (!json_is_number(a))
			return differ(m, "%s is no number", key);
		snprintf(number, sizeof(number), "%.0f", json_number_value(a));
		return *(e + 1) == 's' || bind_name(m, e, number, false);
	}
	if (!came)
		return differ(m, "%s is no text", key);
	if (strncmp(e, "$op", 3) == 0 || strncmp(e, "$sk", 3) == 0)
		return bind_name(m, e, came, true);
	if (strncmp(e, "$cp", 3) == 0)
		return bind_name(m, e, came, false);
	if (strcmp(key, "bucket") == 0)
		return same_bucket(m, e, came);
	if (strncmp(e, free_text, sizeof(free_text) - 1) == 0 && strncmp(came, free_text, sizeof(free_text) - 1) == 0)
		return true;
	return strcmp(e, came) == 0 || differ(m, "%s is %s instead of %s", key, came, e);
}

static bool compare_objects(struct match *m, json_t *e, json_t *a)
{
	const char *k;
	json_t *v;
	json_object_foreach(a, k, v) if (!json_object_get(e, k)) return differ(m, "%s is not expected", k);
	json_object_foreach(e, k, v)
	{
		json_t *came = json_object_get(a, k);
		if (!came)
			return differ(m, "%s is missing", k);
		bool named = strcmp(k, "buckets") == 0 || strcmp(k, "updated_buckets") == 0 || strcmp(k, "removed_buckets") == 0;
		if (!(named && json_is_array(came) ? compare_buckets(m, v, came) : compare(m, k, v, came)))
			return false;
	}
	return true;
}

static bool compare(struct match *m, const char *key, json_t *e, json_t *a)
{
	if (json_is_string(e))
		return compare_text(m, key, json_string_value(e), a);
	if (json_is_object(e) && json_object_get(e, "$long"))
		return compare_long(m, e, a);
	if (json_is_object(e) && json_is_object(a))
		return compare_objects(m, e, a);
	if (json_is_array(e) && json_is_array(a)) {
		bool ok = json_array_size(e) == json_array_size(a) || differ(m, "%s: another number of entries", key);
		for (size_t i = 0; ok && i < json_array_size(e); i++)
			ok = compare(m, key, json_array_get(e, i), json_array_get(a, i));
		return ok;
	}
	if (json_is_number(e) && json_is_number(a))
		return json_number_value(e) == json_number_value(a) ||
		       differ(m, "%s is %.17g instead of %.17g", key, json_number_value(a), json_number_value(e));
	return json_equal(e, a) || differ(m, "%s differs", key);
}

/* ---- lines ------------------------------------------------------------------------------------------------------------------------- */

/* Operations of a run of data lines that are of one bucket, in order. */
static json_t *operations_of(json_t *lines, size_t from, size_t to, const char *bucket)
{
	json_t *out = json_array(), *op;
	size_t k;
	for (size_t i = from; i < to; i++) {
		json_t *d = json_object_get(json_array_get(lines, i), "data");
		if (strcmp(str(d, "bucket"), bucket) == 0)
			json_array_foreach(json_object_get(d, "data"), k, op) json_array_append(out, op);
	}
	return out;
}

static bool compare_operations(struct match *m, json_t *e, json_t *a)
{
	size_t at = 0, i;
	json_t *op;
	json_array_foreach(e, i, op)
	{
		json_t *left_out = json_object_get(op, "$elided");
		for (json_int_t k = 0; left_out && k < json_integer_value(left_out); k++)
			if (strcmp(str(json_array_get(a, at++), "op"), "PUT") != 0)
				return differ(m, "operation %zu is missing or no PUT", at - 1);
		if (!left_out && at >= json_array_size(a))
			return differ(m, "only %zu operations", json_array_size(a));
		if (!left_out && !compare(m, "operation", op, json_array_get(a, at++)))
			return false;
	}
	return at == json_array_size(a) || differ(m, "%zu operations instead of %zu", json_array_size(a), at);
}

/* Lines may be cut elsewhere and come in another order of buckets; each bucket's operations are the same. */
static bool compare_data(struct match *m, json_t *e, size_t e0, size_t e1, json_t *a, size_t a0, size_t a1)
{
	bool ok = true;
	size_t expected = 0, came = 0;
	char key[1024];
	for (size_t i = e0; ok && i < e1; i++) {
		const char *bucket = str(json_object_get(json_array_get(e, i), "data"), "bucket");
		snprintf(key, sizeof(key), "bucket %s", bucket);
		const char *name = json_string_value(json_object_get(m->bound, key));
		if (!name)
			return differ(m, "data of a bucket that no line named: %s", bucket);
		json_t *x = operations_of(e, e0, e1, bucket), *y = operations_of(a, a0, a1, name);
		bool again = false; /* this bucket was compared at an earlier line */
		for (size_t k = e0; k < i; k++)
			again |= strcmp(str(json_object_get(json_array_get(e, k), "data"), "bucket"), bucket) == 0;
		if (!again) {
			ok = compare_operations(m, x, y);
			expected++;
		}
		json_decref(x);
		json_decref(y);
	}
	json_t *names = json_object();
	for (size_t i = a0; i < a1; i++)
		json_object_set_new(names, str(json_object_get(json_array_get(a, i), "data"), "bucket"), json_true());
	came = json_object_size(names);
	json_decref(names);
	return ok && (came == expected || differ(m, "data of %zu buckets instead of %zu", came, expected));
}

static size_t data_run(json_t *lines, size_t from)
{
	while (from < json_array_size(lines) && is_line(json_array_get(lines, from), "data"))
		from++;
	return from;
}

/* A partial line directly before a complete one says nothing. */
static bool is_optional(json_t *lines, size_t i)
{
	return is_line(json_array_get(lines, i), "partial_checkpoint_complete") &&
	       is_line(json_array_get(lines, i + 1), "checkpoint_complete");
}

static bool compare_lines(struct match *m, json_t *e, json_t *a)
{
	size_t i = 0, k = 0, n = json_array_size(e), count = json_array_size(a);
	while (i < n || k < count) {
		json_t *x = json_array_get(e, i), *y = json_array_get(a, k);
		const char *kind = x ? only_key(x) : "the end", *came = y ? only_key(y) : "the end";
		if (y && is_line(y, "token_expires_in") && strcmp(kind, came) != 0) {
			k++;
		} else if (strcmp(kind, came) != 0) {
			if (is_optional(e, i))
				i++;
			else if (is_optional(a, k))
				k++;
			else
				return differ(m, "line %zu: %s instead of %s", k, came, kind);
		} else if (strcmp(kind, "data") == 0) {
			size_t e1 = data_run(e, i), a1 = data_run(a, k);
			if (!compare_data(m, e, i, e1, a, k, a1))
				return false;
			i = e1;
			k = a1;
		} else if (!compare(m, "line", json_array_get(e, i++), json_array_get(a, k++))) {
			return false;
		}
	}
	return true;
}

#endif
