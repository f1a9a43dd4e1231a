#!/usr/bin/env bash
# Builds and tests: run.sh [all|unit|integration|sdk|valgrind|soak [ROUNDS]] [test file ...]
#
#   unit         unit tests and vectors (CTest), with a throw-away Postgres for those that want one (PG_URI)
#   integration  the service over raw HTTP: tests/integration/*.test.mjs
#   sdk          the service with the real client SDK: tests/sdk/*.test.mjs
#   valgrind     unit tests under memcheck
#   soak         the kill loop alone, for many rounds
#
# BUILD (build) is the build folder, CMAKE_OPTIONS its options. The last line is "N passed, N failed, N skipped". Everything that was
# started is stopped, also on failure or Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:-all}
shift || true
build=${BUILD:-build}
passed=0 failed=0 skipped=0 pg_folder='' children=()
scratch=$(mktemp -d "${TMPDIR:-/tmp}/syncline-test.XXXXXX")

# shellcheck source=tests/lib/postgres.sh
. tests/lib/postgres.sh

cleanup() {
	trap - EXIT
	for child in "${children[@]}"; do kill "$child" 2>/dev/null || true; done
	postgres_stop "$pg_folder"
	rm -rf "$scratch"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

section() { printf '\n== %s\n' "$*"; }
add() { passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3)); }

# Runs a command so that a signal reaches this script at once, not when the command is over.
run() {
	"$@" &
	children=($!)
	local status=0
	wait $! || status=$?
	children=()
	return $status
}

run_ctest() { # title, arguments of ctest
	section "$1"
	shift
	local status=0 counts
	run ctest --test-dir "$build" -j 2 --timeout "${TEST_TIMEOUT:-300}" --output-on-failure --no-label-summary "$@" >"$scratch/ctest.out" 2>&1 </dev/null || status=$?
	if [ $status -eq 0 ]; then grep -E '^ *[0-9]+/[0-9]+ Test' "$scratch/ctest.out" || true; else cat "$scratch/ctest.out"; fi
	counts=$(awk -f tests/lib/count.awk "$build/Testing/Temporary/LastTest.log" 2>"$scratch/not-ok")
	cat "$scratch/not-ok"
	# shellcheck disable=SC2086
	add $counts
	[ $status -eq 0 ] || [ "${counts#* }" != "0 ${counts##* }" ] || add 0 1 0
}

run_node() { # title, files
	local title=$1 tap="$scratch/tap" status=0 prefix
	shift
	section "$title"
	if ! prefix=$(scripts/find-node.sh --install); then echo "no Node 20 or newer: counted as a failure"; add 0 1 0; return; fi
	if ! PATH="$prefix/bin:$PATH" run scripts/npm-install.sh tests; then echo "the npm packages could not be installed: counted as a failure"; add 0 1 0; return; fi
	PATH="$prefix/bin:$PATH" PG_URI=$pg_uri PG_FOLDER=$pg_folder SYNCLINE="$(realpath "$build")/syncline" run node --test --test-concurrency=1 \
		--test-reporter=spec --test-reporter-destination=stdout --test-reporter=tap --test-reporter-destination="$tap" "$@" </dev/null || status=$?
	local p f s c
	p=$(awk '/^# pass /{print $3}' "$tap" 2>/dev/null) f=$(awk '/^# fail /{print $3}' "$tap") s=$(awk '/^# skipped /{print $3}' "$tap") c=$(awk '/^# cancelled /{print $3}' "$tap")
	add "${p:-0}" "$((${f:-0} + ${c:-0}))" "${s:-0}"
	[ $status -eq 0 ] || [ "$((${f:-0} + ${c:-0}))" -gt 0 ] || add 0 1 0
}

files_of() { # folder, then files named by the caller
	local folder=$1
	shift
	if [ $# -gt 0 ]; then printf '%s\n' "$@"; else find "$folder" -maxdepth 1 -name '*.test.mjs' | sort; fi
}

case $what in
all | unit | integration | sdk | valgrind | soak) ;;
*) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

section "build ($build)"
scripts/install-packages.sh build run test
run scripts/build.sh "$build"

postgres_start
export PG_URI=$pg_uri

case $what in all | unit) run_ctest "unit tests and vectors" ;; esac
case $what in
valgrind)
	export CMOCKA_TEST_ABORT=0
	section "unit tests under valgrind"
	for program in "$build"/tests/*_test_*; do
		[ -x "$program" ] || continue
		if run valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite "$program" >"$scratch/out" 2>&1 </dev/null; then
			echo "ok ${program##*/}"
		else
			echo "not ok ${program##*/}"
			tail -60 "$scratch/out"
			[ "$(grep -c '^\[  FAILED  \] [0-9]' "$scratch/out")" -gt 0 ] || add 0 1 0
		fi
		# shellcheck disable=SC2046
		add $(awk '/^\[  PASSED  \]/{p+=$4} /^\[  FAILED  \] [0-9]+ test/{f+=$4} /^\[  SKIPPED \] [0-9]/{s+=$4} END{print p+0,f+0,s+0}' "$scratch/out")
	done
	;;
all | integration)
	mapfile -t files < <(files_of tests/integration "$@")
	[ ${#files[@]} -eq 0 ] || run_node "integration tests" "${files[@]}"
	;;&
all | sdk)
	[ "$what" = all ] && set --
	mapfile -t files < <(files_of tests/sdk "$@")
	[ ${#files[@]} -eq 0 ] || run_node "client SDK tests" "${files[@]}"
	;;
soak)
	export KILL_ROUNDS=${1:-50} KILL_SEED=${KILL_SEED:-$RANDOM}
	echo "seed $KILL_SEED, $KILL_ROUNDS rounds"
	run_node "kill loop" tests/integration/kill-loop.test.mjs
	;;
esac

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
