#!/usr/bin/env bash
# fuzz.sh [SECONDS]: builds the libFuzzer targets (tests/fuzz/*.c, clang) and runs each for so long, from its corpus in tests/fuzz/corpus/ and from
# seeds made of the vectors.
# Ends with "N passed, N failed"; what a target found lies in build-fuzz/found/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
scripts/install-packages.sh build test
if ! compgen -G 'tests/fuzz/*.c' >/dev/null; then echo "no fuzz targets"; exit 0; fi
CMAKE_OPTIONS='-DFUZZ=ON -DCMAKE_C_COMPILER=clang' TARGETS=$(for f in tests/fuzz/*.c; do basename "$f" .c; done | tr '\n' ' ') scripts/build.sh build-fuzz
if command -v python3 >/dev/null; then python3 tests/fuzz/make-corpus.py tests/data/vectors build-fuzz/seeds; fi
passed=0 failed=0
for source in tests/fuzz/*.c; do
	name=$(basename "$source" .c)
	mkdir -p "build-fuzz/corpus/$name" "build-fuzz/found/$name"
	seeds=(); for seed in "tests/fuzz/corpus/$name" "build-fuzz/seeds/$name"; do [ ! -d "$seed" ] || seeds+=("$seed"); done
	log=build-fuzz/$name.log
	if "build-fuzz/fuzz/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="build-fuzz/found/$name/" \
		"build-fuzz/corpus/$name" "${seeds[@]}" >"$log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		echo "ok $name ($(grep -oE '^#[0-9]+' "$log" | tail -1 | tr -d '#') inputs)"
	else
		failed=$((failed + 1))
		echo "not ok $name"
		tail -30 "$log"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
