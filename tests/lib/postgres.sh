#!/usr/bin/env bash
# A throw-away Postgres server in a folder of its own. Sourced (functions) or run (commands):
#
#   postgres.sh start [setting=value ...]   makes and starts one; prints its folder and its URI
#   postgres.sh stop FOLDER                 stops it and removes the folder
#   postgres.sh restart FOLDER [immediate]  (immediate: as after a crash); down FOLDER [immediate] and up FOLDER are its halves
#
# It listens on 127.0.0.1 on a free port, has wal_level=logical, keeps fsync on, and runs as user postgres when the caller is root.
set -euo pipefail

pg_bin() {
	local d
	d=$(pg_config --bindir 2>/dev/null || true)
	[ -x "$d/initdb" ] || d=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5 -n | tail -1)
	[ -x "$d/initdb" ] || { echo "no Postgres server found: scripts/install-packages.sh run" >&2; return 1; }
	echo "$d"
}

# Postgres refuses to run as root.
pg_as() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd / && exec setpriv --reuid postgres --regid postgres --init-groups env HOME=/ "$@")
	else
		"$@"
	fi
}

free_port() {
	local port
	for _ in $(seq 200); do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return 0; }
	done
	return 1
}

# Sets pg_folder and pg_uri (without a database name).
postgres_start() {
	local bin port
	bin=$(pg_bin)
	pg_folder=$(mktemp -d "${TMPDIR:-/tmp}/syncline-pg.XXXXXX")
	[ "$(id -u)" -ne 0 ] || chown postgres: "$pg_folder"
	pg_as "$bin/initdb" -D "$pg_folder/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 --no-sync >"$pg_folder/initdb.log" 2>&1 ||
		{ cat "$pg_folder/initdb.log" >&2; return 1; }
	pg_as tee -a "$pg_folder/data/postgresql.conf" >/dev/null <<-C
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$pg_folder'
		wal_level = logical
		max_wal_senders = 30
		max_replication_slots = 60
		max_connections = 250
		max_prepared_transactions = 20
		shared_buffers = 128MB
		max_wal_size = 2GB
		timezone = 'UTC'
		log_line_prefix = '%m [%p] '
	C
	[ $# -eq 0 ] || printf '%s\n' "$@" | pg_as tee -a "$pg_folder/data/postgresql.conf" >/dev/null
	for _ in 1 2 3 4 5; do # another process may take the port first
		port=$(free_port)
		if pg_as "$bin/pg_ctl" -D "$pg_folder/data" -l "$pg_folder/log" -o "-p $port" -w -t 60 -s start >/dev/null 2>&1 </dev/null; then
			echo "$port" >"$pg_folder/port"
			pg_uri="postgres://postgres:postgres@127.0.0.1:$port"
			return 0
		fi
	done
	tail -20 "$pg_folder/log" >&2
	return 1
}

postgres_stop() {
	local folder=${1:-}
	[ -n "$folder" ] && [ -f "$folder/data/PG_VERSION" ] || return 0
	pg_as "$(pg_bin)/pg_ctl" -D "$folder/data" -m immediate -w -t 20 -s stop >/dev/null 2>&1 || true
	rm -rf "$folder"
}

postgres_down() {
	pg_as "$(pg_bin)/pg_ctl" -D "$1/data" -m "${2:-fast}" -w -t 30 -s stop >/dev/null 2>&1 || true
}

postgres_up() {
	pg_as "$(pg_bin)/pg_ctl" -D "$1/data" -l "$1/log" -o "-p $(cat "$1/port")" -w -t 60 -s start >/dev/null </dev/null
}

postgres_restart() {
	postgres_down "$1" "${2:-fast}"
	postgres_up "$1"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
	command=${1:-}
	shift || true
	case $command in
	start) postgres_start "$@"; echo "$pg_folder $pg_uri" ;;
	stop) postgres_stop "$@" ;;
	restart) postgres_restart "$@" ;;
	down) postgres_down "$@" ;;
	up) postgres_up "$@" ;;
	*) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
	esac
fi
