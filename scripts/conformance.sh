#!/usr/bin/env bash
# conformance.sh HARNESS [SUITE ...]: runs a conformance harness (a folder with run.mjs) against build/syncline and a throw-away
# Postgres. Suites and skipped scenarios: tests/conformance/target.template.json; recorded values that differ on purpose:
# differences.json. Ends with the harness's "N passed, N failed, N skipped".
# The suite "web" (the web SDK in headless Chromium) is run when it is named: scripts/conformance.sh HARNESS web
# ONLY='regular expression' picks scenarios; KEEP=1 keeps the work folder. STORAGE=postgresql: on a shared storage database.
set -euo pipefail
harness=$(cd "${1:?folder of the harness}" && pwd)
shift
cd "$(dirname "$0")/.."
build=${BUILD:-build}
[ -f "$harness/run.mjs" ] || { echo "$harness has no run.mjs" >&2; exit 2; }
[ -x "$build/syncline" ] || scripts/build.sh "$build"

work=$(mktemp -d "${TMPDIR:-/tmp}/syncline-conformance.XXXXXX")
pg_folder='' child=''
# shellcheck source=tests/lib/postgres.sh
. tests/lib/postgres.sh
cleanup() {
	trap - EXIT
	[ -z "$child" ] || { kill "$child" 2>/dev/null || true; wait "$child" 2>/dev/null || true; }
	postgres_stop "$pg_folder"
	[ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

scripts/install-packages.sh run test
case " $* " in *" web "*) scripts/install-packages.sh browser ;; esac # 220 MB, so only when it is asked for
prefix=$(scripts/find-node.sh --install)
export PATH="$prefix/bin:$PATH"
# The harness's folder may not be writable: packages are installed beside a copy.
cp -r "$harness" "$work/harness"
chmod -R u+w "$work/harness"
scripts/npm-install.sh "$work/harness"
postgres_start

# Recorded values that differ on purpose.
while read -r difference; do
	for name in $(jq -r '.files[]' <<<"$difference"); do
		file=$work/harness/expected/$name.json
		[ -f "$file" ] || continue
		jq --argjson d "$difference" '.[$d.row] |= (. + ($d.set // {}) | delpaths([$d.remove // [] | .[] | [.]]))' "$file" >"$work/expected"
		mv "$work/expected" "$file"
	done
done < <(jq -c '.[]' tests/conformance/differences.json)

template=tests/conformance/target.template.json
shared=''
[ "${STORAGE:-lmdb}" != postgresql ] || shared="$pg_uri/{world}_storage"
jq --arg pg "$pg_uri" --arg shared "$shared" --arg syncline "$(realpath "$build")/syncline" --arg work "$work/run" \
	'.source_uri |= sub("{pg}"; $pg) | (.start, .compact // empty) |= sub("{syncline}"; $syncline) | .work_dir = $work | del(.suites)
	| if $shared == "" then . else .storage = {type: "postgresql", uri: $shared, sslmode: "disable"} | .takeover_s = 10 end' $template >"$work/target.json"
suites=()
if [ $# -eq 0 ]; then mapfile -t names < <(jq -r '.suites[]' $template); else names=("$@"); fi
for name in "${names[@]}"; do suites+=(--suite "$name"); done
[ -z "${ONLY:-}" ] || suites+=(--only "$ONLY")
[ -z "${KEEP:-}" ] || { suites+=(--keep); echo "work folder: $work"; }
printf '\n== conformance: %s\n' "${names[*]}"
node "$work/harness/run.mjs" --target "$work/target.json" "${suites[@]}" </dev/null &
child=$!
status=0
wait "$child" || status=$?
child=''
exit $status
