#!/usr/bin/env bash
# Configures (once) and builds a build folder: build.sh [FOLDER]. CMAKE_OPTIONS are given to cmake, TARGETS to ninja (default: all).
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-build}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086
cmake -G Ninja -S . -B "$folder" ${CMAKE_OPTIONS:-} >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
# shellcheck disable=SC2086
ninja -C "$folder" -j "${JOBS:-$(nproc)}" ${TARGETS:-} >"$log" 2>&1 || { grep -v '^[0-9]*\[[0-9]*/[0-9]*\] \(Building\|Linking\|Re-checking\)\|^ninja: Entering' "$log" >&2; exit 1; }
if [ -x "$folder/syncline" ] && [ -z "${TARGETS:-}" ]; then echo "built $folder/syncline"; fi
