#!/usr/bin/env bash
# npm-install.sh FOLDER: puts FOLDER/node_modules in place. Building the SDK's SQLite takes a minute, so the result is kept in the
# user's cache folder under a hash of the lists of packages and the version of Node, and linked from there.
set -euo pipefail
cd "$1"
prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
lists=(package.json)
[ ! -f package-lock.json ] || lists+=(package-lock.json)
hash=$( (node --version; uname -m; cat "${lists[@]}") | sha256sum | cut -c1-16)
cache=${SYNCLINE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/syncline}/npm-$hash

if [ ! -f "$cache/complete" ]; then
	echo "installing npm packages into $cache"
	mkdir -p "$(dirname "$cache")"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	cp "${lists[@]}" "$work"
	command=install
	[ ! -f package-lock.json ] || command=ci
	# npm runs on the chosen Node, whatever its first line says, and node-gyp takes that one's headers: only packages are downloaded.
	npm=$prefix/../npm/bin/npm-cli.js # beside a Node that find-node.sh fetched: Debian's own npm links addons to Debian's Node
	[ -f "$npm" ] || npm=$(readlink -f "$(command -v npm)")
	npm_config_nodedir=$prefix node "$npm" "$command" --prefix "$work" --no-audit --no-fund --loglevel=error >"$work/log" 2>&1 || { tail -40 "$work/log" >&2; exit 1; }
	touch "$work/complete"
	rm -rf "$cache"
	mv -T "$work" "$cache" 2>/dev/null || [ -f "$cache/complete" ]
fi
[ "$(readlink node_modules 2>/dev/null)" = "$cache/node_modules" ] && exit 0
rm -rf node_modules
ln -s "$cache/node_modules" node_modules
