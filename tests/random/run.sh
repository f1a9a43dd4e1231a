#!/usr/bin/env bash
# run.sh [COUNT] [SEED]: compares rules and storage with their executable models on random inputs: COUNT cases (default 10000) each of
# expressions, sync configs and sync streams; COUNT / 100 scenarios of storage, with PG_URI on the shared layout as well. BUILD: the build
# folder (default build). Skipped unless SYNCLINE_MODELS names the folder of the models. Ends with "N passed, N failed"; failing cases are
# shown by the runners.
set -euo pipefail
cd "$(dirname "$0")/../.."
count=${1:-10000} seed=${2:-1} build=${BUILD:-build}
if [ -z "${SYNCLINE_MODELS:-}" ]; then echo "skipped: SYNCLINE_MODELS is not set"; exit 0; fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0 failed=0
for kind in expressions sync-config sync-streams; do
	mkdir "$out/$kind"
	file=random.json runner=sync-config-vectors
	[ "$kind" != expressions ] || file=expr-random.json
	[ "$kind" != sync-streams ] || runner=sync-streams-vectors
	python3 tests/random/cases.py "$kind" "$seed" "$count" "$out/$kind/$file"
	echo "$kind"
	"$build/tests/$runner" "$out/$kind" | tee "$out/$kind.log" || true
	read -r p f < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$out/$kind.log" | tail -1)
	passed=$((passed + p)) failed=$((failed + f))
done
mkdir "$out/storage"
python3 tests/random/storage_cases.py "$seed" $((count / 200)) "$out/storage"
for store in '' -p; do
	[ -z "$store" ] || [ -n "${PG_URI:-}" ] || continue
	echo "storage $store"
	"$build/tests/storage-vectors" "$out/storage" $store | tee "$out/storage.log" || true
	read -r p f < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed.*/\1 \2/p' "$out/storage.log" | tail -1)
	passed=$((passed + p)) failed=$((failed + f))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
