/* route_admin_requests.c: who waits for a checkpoint request, and why (an addition of Syncline). */
#include "server/admin.h"
#include "server/request_report.h"
#include "server/routes.h"
#include "server/state.h"

/* False: the answer is made. */
static bool read_text(struct exchange *x, struct slice name, struct slice *out)
{
	struct complaints c = {0};
	bool bad = false;
	if (!http_query(&x->request, name, out, &bad))
		*out = slice_make(NULL, 0);
	if (bad) {
		struct buf text = {0};
		buf_printf(&text, "/%.*s: must be UTF-8 text", SLICE_ARG(name));
		buf_append(&text, "", 1);
		complain(&c, text.p);
		buf_free(&text);
	}
	return !complaints_answer(&c, &x->response);
}

static bool read_limit(struct exchange *x, size_t *out)
{
	struct complaints c = {0};
	struct slice text;
	uint64_t n = REPORT_DEFAULT_LIMIT;
	if (!read_text(x, SLICE("limit"), &text))
		return false;
	if (text.p && (!slice_parse_u64(text, REPORT_MAX_LIMIT, &n) || n == 0))
		complain(&c, "/limit: must be an integer from 1 to 1000");
	*out = (size_t)n;
	return !complaints_answer(&c, &x->response);
}

static void run_requests(struct exchange *x)
{
	struct error err = {.code = ""};
	json_t *report = request_report(x->server->options.storage, x->server, false, &x->admin.requests, &err);
	if (report)
		admin_answer(x, report);
	else
		admin_failed(x, &err);
}

bool route_admin_requests(struct exchange *x)
{
	struct request_filter *f = &x->admin.requests;
	if (!read_text(x, SLICE("user_id"), &f->subject) || !read_text(x, SLICE("client_id"), &f->client_id) ||
	    !read_limit(x, &f->limit))
		return true;
	return admin_begin(x, run_requests);
}
