/* route_admin_rules.c: deploying and reading the sync config over HTTP (http-api-and-operations 4.6 to 4.8). */
#include <time.h>

#include "base/clock.h"
#include "server/admin.h"
#include "server/routes.h"
#include "server/state.h"

#define SLOT_PATIENCE_MS 3000

struct slice admin_stored_text(struct storage *s, bool active, struct arena *arena)
{
	struct stored_plan *p = active ? storage_active_plan(s) : storage_pending_plan(s);
	struct slice text = p ? arena_copy(arena, plan_text(p->plan)) : slice_make(NULL, 0);
	stored_plan_unref(p);
	return text;
}

const char *admin_slot_name(const struct source_state *state)
{
	return state->slot_name + (state->slot_name[0] == '!');
}

/* The very first deploy makes the slot, which takes a moment; callers want its name. */
static void answer_slot(struct exchange *x)
{
	struct source_state state = {0};
	struct error ignored;
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
	for (int64_t until = clock_mono_ms() + SLOT_PATIENCE_MS; clock_mono_ms() < until && !atomic_load(&x->server->stopping);
	     nanosleep(&pause, NULL)) {
		storage_source_state(x->server->options.storage, &state, &ignored);
		if (*admin_slot_name(&state) && admin_slot_name(&state) == state.slot_name)
			break;
	}
	admin_answer(x, json_pack("{s:s}", "slot_name", admin_slot_name(&state)));
}

/* ---- deploy ----------------------------------------------------------------------------------------------------------------------- */

static void run_deploy(struct exchange *x)
{
	const struct server_admin *admin = x->server->options.admin;
	struct error err = {.code = ""};
	struct diagnostics d = {0};
	if (!admin || !admin->deploy || admin->sync_config_configured(admin->ctx)) {
		admin_refused(x, 422, "PSYNC_S4105", "Sync config API disabled",
		              "Update sync config in the service configuration");
		return;
	}
	struct plan *plan = plan_compile(x->admin.text, SLICE("public"), &d);
	if (!plan) {
		size_t i = 0;
		while (i + 1 < d.count && d.items[i].level != DIAGNOSTIC_FATAL)
			i++;
		admin_refused(x, 422, "PSYNC_R0001", "Sync config parsing failed",
		              d.count ? arena_cstr(&x->request.arena, d.items[i].message) : "");
	} else if (admin->deploy(admin->ctx, plan, &err)) {
		answer_slot(x);
	} else {
		admin_failed(x, &err);
	}
	plan_unref(plan);
	diagnostics_free(&d);
}

bool route_rules_deploy(struct exchange *x)
{
	return !admin_yaml_body(x) || admin_begin(x, run_deploy);
}

/* ---- validate --------------------------------------------------------------------------------------------------------------------- */

static void run_validate(struct exchange *x)
{
	struct arena arena = {0};
	struct admin_source a;
	admin_source_open(&a, x->server, &arena);
	json_t *answer = admin_validation(x->server, &a, x->admin.text), *changes = NULL;
	if (json_is_true(json_object_get(answer, "valid")))
		changes = admin_preview(x->server, &a, x->admin.text);
	if (changes)
		json_object_set_new(answer, "changes", changes);
	admin_answer_pretty(x, answer);
	admin_source_close(&a);
	arena_free(&arena);
}

bool route_rules_validate(struct exchange *x)
{
	return !admin_yaml_body(x) || admin_begin(x, run_validate);
}

/* ---- current ---------------------------------------------------------------------------------------------------------------------- */

static json_t *one(struct exchange *x, struct admin_source *a, struct slice text, const char *slot)
{
	json_t *o = json_pack("{s:s,s:o}", "slot_name", slot, "content", json_text(text)),
	       *more = admin_validation(x->server, a, text);
	json_object_update(o, more);
	json_decref(more);
	return o;
}

static void run_current(struct exchange *x)
{
	struct arena arena = {0};
	struct admin_source a;
	struct storage *storage = x->server->options.storage;
	struct source_state state = {0};
	struct error ignored;
	struct slice active = admin_stored_text(storage, true, &arena), pending = admin_stored_text(storage, false, &arena);
	if (!active.p) {
		admin_refused(x, 422, "PSYNC_S4104", "No active sync config", NULL);
		arena_free(&arena);
		return;
	}
	storage_source_state(storage, &state, &ignored);
	admin_source_open(&a, x->server, &arena);
	json_t *current = one(x, &a, active, admin_slot_name(&state)),
	       *next = pending.p ? one(x, &a, pending, admin_slot_name(&state)) : json_null();
	admin_answer_pretty(x, json_pack("{s:{s:o,s:o}}", "data", "current", current, "next", next));
	admin_source_close(&a);
	arena_free(&arena);
}

bool route_rules_current(struct exchange *x)
{
	return admin_begin(x, run_current);
}
