/* check_list.c: see check_list.h. */
#include "cli/check_list.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"

static const char *const status_names[] = {"ok", "note", "warning", "error"};

void check_add(struct check_list *l, enum check_status status, const char *subject, const char *fix, const char *format, ...)
{
	char text[2048];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	l->items = xgrow(l->items, l->count, &l->cap, sizeof(*l->items));
	l->items[l->count++] = (struct check_item){
	        .status = status,
	        .subject = subject,
	        .text = arena_cstr(&l->arena, slice_cstr(text)),
	        .fix = fix ? arena_cstr(&l->arena, slice_cstr(fix)) : NULL,
	};
	l->errors += status == CHECK_ERROR;
	l->warnings += status == CHECK_WARNING;
}

static void print_json(const struct check_list *l)
{
	json_t *items = json_array();
	for (size_t i = 0; i < l->count; i++) {
		json_t *item = json_pack("{s:s,s:s,s:o}", "subject", l->items[i].subject, "status",
		                         status_names[l->items[i].status], "message", json_text(slice_cstr(l->items[i].text)));
		if (l->items[i].fix)
			json_object_set_new(item, "fix", json_text(slice_cstr(l->items[i].fix)));
		json_array_append_new(items, item);
	}
	cli_print_json(json_pack("{s:b,s:I,s:I,s:o}", "ok", l->errors == 0, "errors", (json_int_t)l->errors, "warnings",
	                         (json_int_t)l->warnings, "checks", items));
}

static void print_text(const struct check_list *l)
{
	static const char *const colours[] = {"\x1b[32m", "\x1b[36m", "\x1b[33m", "\x1b[31m"};
	bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	const char *subject = "";
	for (size_t i = 0; i < l->count; i++) {
		const struct check_item *x = &l->items[i];
		bool same = strcmp(subject, x->subject) == 0;
		subject = x->subject;
		printf("%-14s %s%-7s%s  %s\n", same ? "" : subject, colour ? colours[x->status] : "", status_names[x->status],
		       colour ? "\x1b[0m" : "", x->text);
		if (x->fix)
			printf("%-14s %-7s  fix: %s\n", "", "", x->fix);
	}
	printf("\n%zu error%s, %zu warning%s\n", l->errors, l->errors == 1 ? "" : "s", l->warnings, l->warnings == 1 ? "" : "s");
}

void check_list_print(const struct check_list *l, bool json)
{
	if (json)
		print_json(l);
	else
		print_text(l);
}

void check_list_free(struct check_list *l)
{
	free(l->items);
	arena_free(&l->arena);
}
