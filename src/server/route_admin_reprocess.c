/* route_admin_reprocess.c: every table of the active sync config is compared with the source (http-api-and-operations 4.4, 4.9). */
#include "server/admin.h"
#include "server/routes.h"
#include "server/state.h"

/* False: answered. */
static bool begin(struct exchange *x, struct source_state *state)
{
	const struct server_admin *admin = x->server->options.admin;
	struct storage *storage = x->server->options.storage;
	struct stored_plan *active = storage_active_plan(storage), *pending = storage_pending_plan(storage);
	struct error ignored;
	bool ok = !pending && active && admin && admin->reprocess && admin->reprocess(admin->ctx);
	if (!ok && (pending || active))
		admin_refused(x, 409, "PSYNC_S4106", "Busy processing sync config - cannot reprocess", NULL);
	else if (!ok)
		admin_refused(x, 422, "PSYNC_S4104", "No active sync config", NULL);
	stored_plan_unref(active);
	stored_plan_unref(pending);
	*state = (struct source_state){0};
	return ok && storage_source_state(storage, state, &ignored);
}

static void run_admin(struct exchange *x)
{
	struct source_state state;
	if (!admin_need_source(x) || !begin(x, &state))
		return;
	const struct server_admin *admin = x->server->options.admin;
	admin_answer(x, json_pack("{s:[{s:s,s:s,s:s}]}", "connections", "id", admin->connection_id, "tag", admin->connection_tag,
	                          "slot_name", admin_slot_name(&state)));
}

static void run_rules(struct exchange *x)
{
	struct source_state state;
	if (admin_need_source(x) && begin(x, &state))
		admin_answer(x, json_pack("{s:s}", "slot_name", admin_slot_name(&state)));
}

bool route_admin_reprocess(struct exchange *x)
{
	json_t *p = admin_parameters(x);
	if (!p)
		return true;
	json_decref(p);
	return admin_begin(x, run_admin);
}

/* The only schema without further members (2.4). */
bool route_rules_reprocess(struct exchange *x)
{
	json_t *p = admin_parameters(x), *value;
	struct complaints c = {0};
	const char *name;
	if (!p)
		return true;
	json_object_foreach(p, name, value)
	{
		struct buf text = {0};
		buf_printf(&text, " Property %.100s is not expected to be here", name);
		buf_putc(&text, '\0');
		complain(&c, text.p);
		buf_free(&text);
	}
	json_decref(p);
	return complaints_answer(&c, &x->response) || admin_begin(x, run_rules);
}
