#!/usr/bin/env bash
# cppcheck and clang-tidy (.clang-tidy) over src/, both without findings; shell scripts are checked for syntax.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}
cmake -G Ninja -S . -B "$build" >/dev/null # for compile_commands.json
for script in scripts/*.sh tests/run.sh tests/lib/*.sh .ci/run bench/*.sh; do [ ! -f "$script" ] || bash -n "$script"; done
echo "cppcheck"
# It does not see into the macros of uthash and jansson, nor that snprintf only fills its buffer (on one core it looks across files): what
# it takes for uninitialised or broken is the compilers' to judge.
cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j "$(nproc)" --enable=warning,performance,portability \
	--suppress=missingIncludeSystem --suppress=unusedStructMember --suppress=unknownMacro --suppress=internalAstError \
	--suppress=uninitvar --suppress=ctuuninitvar --suppress=nullPointerRedundantCheck -I src src
echo "clang-tidy"
git ls-files 'src/*.c' | xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" 2>/dev/null
echo "no findings"
