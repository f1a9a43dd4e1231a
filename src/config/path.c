/* path.c: file names relative to the configuration. */
#include "config/load.h"

const char *path_resolve(struct arena *arena, const char *directory, const char *path)
{
	struct buf joined = {0};
	if (path[0] != '/') {
		buf_append(&joined, directory, strlen(directory));
		buf_putc(&joined, '/');
	}
	buf_append(&joined, path, strlen(path));

	bool absolute = joined.n && joined.p[0] == '/';
	struct buf out = {0};
	struct slice rest = buf_slice(&joined);
	while (rest.n) {
		const char *slash = memchr(rest.p, '/', rest.n);
		struct slice part = slice_make(rest.p, slash ? (size_t)(slash - rest.p) : rest.n);
		rest = slice_drop(rest, part.n + 1);
		if (part.n == 0 || slice_eq(part, SLICE(".")))
			continue;
		if (slice_eq(part, SLICE("..")) && (absolute || out.n) && !slice_ends(buf_slice(&out), SLICE(".."))) {
			while (out.n && out.p[--out.n] != '/')
				;
			continue;
		}
		if (absolute || out.n)
			buf_putc(&out, '/');
		buf_slice_append(&out, part);
	}
	if (out.n == 0)
		buf_putc(&out, absolute ? '/' : '.');
	const char *result = arena_cstr(arena, buf_slice(&out));
	buf_free(&joined);
	buf_free(&out);
	return result;
}

const char *path_directory(struct arena *arena, const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return ".";
	return slash == path ? "/" : arena_cstr(arena, slice_make(path, (size_t)(slash - path)));
}
