/* jwks_kept.c: see jwks_kept.h. */
#include "auth/jwks_kept.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#define MAX_KEPT (4u * 1024 * 1024 + 64)

static bool file_name(const char *folder, const char *url, const struct crypto *crypto, const char *suffix, char out[PATH_MAX])
{
	unsigned char digest[32];
	if (!EVP_Digest(url, strlen(url), digest, NULL, crypto->sha256, NULL))
		return false;
	int n = snprintf(out, PATH_MAX, "%s/jwks-", folder);
	for (size_t i = 0; i < 8 && n < PATH_MAX; i++)
		n += snprintf(out + n, (size_t)(PATH_MAX - n), "%02x", digest[i]);
	if (n < PATH_MAX)
		n += snprintf(out + n, (size_t)(PATH_MAX - n), ".keys%s", suffix);
	return n < PATH_MAX;
}

static bool read_all(const char *path, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	ssize_t n;
	while (out->n <= MAX_KEPT && (n = read(fd, buf_reserve(out, 65536), 65536)) > 0)
		out->n += (size_t)n;
	close(fd);
	return out->n > 0 && out->n <= MAX_KEPT;
}

bool jwks_kept_read(const char *folder, const char *url, const struct crypto *crypto, int64_t max_age_ms, struct buf *body,
                    int64_t *age_ms)
{
	char path[PATH_MAX];
	struct buf all = {0};
	uint64_t fetched_at;
	const char *end = NULL;
	if (file_name(folder, url, crypto, "", path) && read_all(path, &all))
		end = memchr(all.p, '\n', all.n);
	bool ok = end && slice_parse_u64(slice_make(all.p, (size_t)(end - all.p)), INT64_MAX, &fetched_at);
	if (ok) {
		*age_ms = clock_wall_ms() - (int64_t)fetched_at;
		ok = *age_ms >= 0 && *age_ms <= max_age_ms;
		buf_append(body, end + 1, all.n - (size_t)(end + 1 - all.p));
	}
	buf_free(&all);
	return ok;
}

void jwks_kept_write(const char *folder, const char *url, const struct crypto *crypto, struct slice body)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	if (!file_name(folder, url, crypto, "", path) || !file_name(folder, url, crypto, ".new", fresh))
		return;
	if (body.n == 0) {
		unlink(path);
		return;
	}
	struct buf all = {0};
	buf_printf(&all, "%lld\n", (long long)clock_wall_ms());
	buf_slice_append(&all, body);
	unlink(fresh);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0) {
		bool ok = write(fd, all.p, all.n) == (ssize_t)all.n;
		if (close(fd) != 0 || !ok || rename(fresh, path) != 0)
			unlink(fresh);
	}
	buf_free(&all);
}
