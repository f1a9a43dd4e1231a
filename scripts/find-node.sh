#!/usr/bin/env bash
# Prints the folder with bin/node (20 or newer) and include/node, for the tests that drive the client SDK. With --install, fetches one
# from the npm registry into .tools/ when the machine has none.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)

fits() { [ -x "$1/bin/node" ] && [ "$("$1/bin/node" -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 20 ]; }

case $(uname -m) in
x86_64) arch=x64 ;;
aarch64) arch=arm64 ;;
*) arch=$(uname -m) ;;
esac
local_node="$top/.tools/node_modules/node-linux-$arch"
on_path=$(command -v node || true)
[ -z "$on_path" ] || on_path=$(dirname "$(dirname "$(readlink -f "$on_path")")")
for prefix in "$on_path" "$local_node" /usr /usr/local; do
	if [ -n "$prefix" ] && fits "$prefix"; then echo "$prefix"; exit 0; fi
done
[ "${1:-}" = --install ] || exit 1
if ! command -v npm >/dev/null; then
	"$top/scripts/install-packages.sh" node >&2
fi
mkdir -p "$top/.tools"
npm install --prefix "$top/.tools" --no-save --no-audit --no-fund --loglevel=error "node-linux-$arch@22" npm@10 >&2
fits "$local_node" || { echo "no usable Node 20 or newer" >&2; exit 1; }
echo "$local_node"
