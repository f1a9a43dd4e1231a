#!/usr/bin/env bash
# Installs what is missing on a Debian machine, and nothing else: install-packages.sh [build] [run] [test] [lint] [node] [proxy] [browser]
#
#   build  compilers and libraries       run   a Postgres server and tools for the demo, the tests and the benchmark
#   test   cmocka, valgrind, clang       lint  cppcheck, clang-tidy, clang-format
#   proxy  nginx, for the test of packaging/nginx.conf (without it that test is skipped: the package may start a server on port 80)
#   browser  headless Chromium, for the web suite of a conformance harness
#   node   Debian's Node and npm, only to fetch a newer Node where there is none (scripts/find-node.sh)
#
# Packages that are installed already are never upgraded, so a running Postgres server is left alone.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive

# The first alternative that is installed, else the first that apt knows, satisfies "a|b".
build='gcc make cmake ninja-build pkg-config libevent-dev libhttp-parser-dev|libllhttp-dev libpq-dev liblmdb-dev libyaml-dev
	libjansson-dev libssl-dev libcurl4-openssl-dev|libcurl-dev zlib1g-dev libzstd-dev uthash-dev'
run='postgresql postgresql-client curl jq openssl'
test='libcmocka-dev libwslay-dev valgrind clang libclang-rt-14-dev|libclang-rt-dev g++ procps git'
lint='cppcheck clang-tidy clang-format'
node='nodejs npm'
proxy='nginx-light'
browser='chromium-headless-shell|chromium'

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
known() { [ -n "$(apt-cache madison "$1" 2>/dev/null)" ]; }

missing() {
	local entry name
	for entry in "$@"; do
		for name in ${entry//|/ }; do installed "$name" && continue 2; done
		echo "$entry"
	done
}

wanted=()
for group in ${*:-build run test lint}; do
	case $group in
	build | run | test | lint | node | proxy | browser) read -r -d '' -a names <<<"${!group}" || true; wanted+=("${names[@]}") ;;
	*) echo "unknown group: $group" >&2; exit 2 ;;
	esac
done

mapfile -t lacking < <(missing "${wanted[@]}")
[ ${#lacking[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
	echo "These packages are needed (names as in Debian): ${lacking[*]}" >&2
	exit 1
fi

root=()
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null || { echo "Needed, as root: apt-get install ${lacking[*]}" >&2; exit 1; }
	root=(sudo -E)
fi
apt_get() { "${root[@]}" apt-get -y -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@"; }

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing: ${lacking[*]}"
apt_get update >"$log" 2>&1 || cat "$log" >&2

names=()
for entry in "${lacking[@]}"; do
	chosen=${entry%%|*}
	for name in ${entry//|/ }; do known "$name" && { chosen=$name; break; }; done
	names+=("$chosen")
done

# A server installed for the demo or the tests alone needs no cluster of its own running: they make throw-away ones.
if [[ " ${names[*]} " == *" postgresql "* ]] && ! installed postgresql-common; then
	apt_get install --no-install-recommends postgresql-common >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
	"${root[@]}" sed -i 's/^#\?create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
	echo "(create_main_cluster = false in /etc/postgresql-common/createcluster.conf: no server is started by the package)"
fi
apt_get install --no-install-recommends --no-upgrade "${names[@]}" >"$log" 2>&1 || { tail -30 "$log" >&2; exit 1; }
