#!/usr/bin/env bash
# Fixed workloads beside the limits of the machine, as ratios: what the service adds to what Postgres and the wire cost anyway.
#
#   bench/run.sh [bulk] [fleet] [snapshot] [streaming] [backlog] [transaction] [buckets]
#
#     bulk         a large first sync, downloads, streaming          fleet    idle clients, fan-out, acknowledgements
#     snapshot     the first snapshot alone, beside COPY, RUNS=3 times, and its peak of memory
#     streaming    what is written while the service follows, in many transactions and in one: how long after the source it is done
#     backlog      what was written while the service was down       transaction   the same rows in one transaction
#     buckets      first syncs of 500 small buckets behind a join, with a storage database: its statements, and their time
#
# ROWS=200000 STREAM_ROWS=100000 CLIENTS=1000 ROUNDS=50; bulk and fleet if none is named. With BENCH_SUITE=folder an external suite
# (run.sh there, told how to start the service by BENCH_START, BENCH_PG and BENCH_STORAGE) runs instead.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build} rows=${ROWS:-200000} stream_rows=${STREAM_ROWS:-100000} clients=${CLIENTS:-1000} rounds=${ROUNDS:-50} runs=${RUNS:-3}
scripts/install-packages.sh build run
TARGETS='syncline bench_load' scripts/build.sh "$build"
load=$build/bench/bench_load
work=$(mktemp -d "${TMPDIR:-/tmp}/syncline-bench.XXXXXX")
pg_folder='' service='' watcher=''
# shellcheck source=tests/lib/postgres.sh
. tests/lib/postgres.sh

stop_service() {
	[ -n "$service" ] || return 0
	kill "$service" 2>/dev/null || true
	wait "$service" 2>/dev/null || true
	[ -z "$watcher" ] || wait "$watcher" 2>/dev/null || true
	service='' watcher=''
}
cleanup() {
	trap - EXIT
	stop_service
	postgres_stop "$pg_folder"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

preload=''
[[ " $* " != *" buckets "* ]] || preload=pg_stat_statements
postgres_start "shared_buffers = 512MB" "max_wal_size = 8GB" "shared_preload_libraries = '$preload'"

if [ -n "${BENCH_SUITE:-}" ]; then
	BENCH_START="$(realpath "$build")/syncline start -c {config}" BENCH_PG=$pg_uri BENCH_STORAGE="storage: {type: lmdb, path: $work/{name}}" \
		BENCH_LABEL=syncline BENCH_PORT=$(free_port) bash "$BENCH_SUITE/run.sh" "$@" </dev/null
	exit
fi

sql() { psql -qAtX -v ON_ERROR_STOP=1 "$pg_uri/$database" -c "$1"; }
now() { local t=${EPOCHREALTIME/[.,]/}; echo "$t"; }
seconds_since() { awk -v a="$1" -v b="$(now)" 'BEGIN {printf "%.3f", (b - a) / 1e6}'; }
rate() { awk -v n="$1" -v s="$2" 'BEGIN {printf "%.0f", n / (s > 0 ? s : 1e-6)}'; }
field() { sed -n "s/.*\b$2=\([0-9.]*\).*/\1/p" <<<"$1"; }
line() { printf '%-38s %12s %-12s %s\n' "$@"; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f of it", a / b}'; }

b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
key=$(openssl rand 32 | b64url)
key_hex=$(printf '%s=' "$key" | tr -- '-_' '+/' | openssl base64 -d -A | od -An -tx1 | tr -d ' \n')
for i in $(seq 0 49); do
	head=$(printf '{"alg":"HS256","typ":"JWT","kid":"k"}' | b64url)
	body=$(printf '{"sub":"user%d","aud":"bench","iat":%d,"exp":%d}' "$i" "$(date +%s)" $(($(date +%s) + 7200)) | b64url)
	echo "$head.$body.$(printf '%s.%s' "$head" "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key_hex" -binary | b64url)"
done >"$work/tokens"

new_database() {
	database=$1
	psql -qX "$pg_uri/postgres" -c "create database $database"
}

# The stream waits in the service: asking again and again would take time from what is measured.
first_checkpoint() {
	local start=''
	read -rN 13 start < <(exec curl -sN --noproxy '*' -m 10 -X POST "http://127.0.0.1:$port/sync/stream" \
		-H "Authorization: Token $(head -1 "$work/tokens")" -H 'content-type: application/json' -d '{"buckets":[]}' 2>/dev/null) || true
	kill $! 2>/dev/null || true
	printf %s "$start"
}

start_service() { # sync config on standard input
	cat >"$work/sync-config.yaml"
	port=$(free_port)
	cat >"$work/powersync.yaml" <<-Y
		replication: { connections: [{ type: postgresql, uri: "$pg_uri/$database", sslmode: disable }] }
		storage: ${storage:-"{ type: lmdb, path: $work/data-$database }"}
		port: $port
		sync_config: { path: sync-config.yaml }
		client_auth: { audience: [bench], jwks: { keys: [{ kty: oct, alg: HS256, kid: k, k: $key }] } }
		api: { parameters: { max_concurrent_connections: 100000 } }
		system: { logging: { level: warn } }
	Y
	started=$(now)
	"$build/syncline" start -c "$work/powersync.yaml" >"$work/log" 2>&1 &
	service=$!
	watch_memory
	until curl -fs --noproxy '*' -o /dev/null "http://127.0.0.1:$port/probes/liveness" 2>/dev/null; do
		kill -0 "$service" 2>/dev/null || { tail -20 "$work/log" >&2; exit 1; }
		sleep 0.005
	done
	line "start to live" "$(seconds_since "$started")" s ""
	until [ "$(first_checkpoint)" = '{"checkpoint"' ]; do
		kill -0 "$service" 2>/dev/null || { tail -20 "$work/log" >&2; exit 1; }
		sleep 0.05
	done
	to_checkpoint=$(seconds_since "$started")
}
memory() { awk '/^RssAnon/ {a = $2} /^VmHWM/ {h = $2} END {printf "%.0f MB anonymous, %.0f MB peak", a / 1024, h / 1024}' "/proc/$service/status"; }

items() { # a table with so many rows
	sql "create table items(id uuid primary key default gen_random_uuid(), owner_id text not null, title text not null, body text not null, quantity int not null,
		price numeric(12,2) not null, done boolean not null, created_at timestamptz not null, meta jsonb not null)"
	sql "insert into items(owner_id, title, body, quantity, price, done, created_at, meta) select 'user' || (i % 1000), 'Item ' || i, repeat(md5(i::text), 8), i, i / 7.0,
		i % 3 = 0, '2026-01-01'::timestamptz + i * interval '1 second', jsonb_build_object('tags', jsonb_build_array('a', i)) from generate_series(1, $1) i"
	sql 'create publication powersync for all tables'
	sql 'analyze items'
}

write_rows() { # rows, rows a transaction
	sql "do \$\$ begin for b in 1..$(($1 / $2)) loop
		insert into items(owner_id, title, body, quantity, price, done, created_at, meta) select 'user' || (i % 1000), 'Streamed ' || i, repeat(md5(i::text), 8), i, 1, false, now(), '{}'
		from generate_series(b * $2, b * $2 + $2 - 1) i; commit; end loop; end \$\$"
}

# Milliseconds of processor time that the service has used.
cpu_ms() { awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) * 1000 / hz) }' "/proc/$service/stat"; }

bulk() {
	new_database bulk
	items "$rows"
	local t copy_s result wrote caught decoded cpu
	t=$(now)
	psql -qX "$pg_uri/$database" -c 'copy items to stdout' >/dev/null
	copy_s=$(seconds_since "$t")
	line "COPY of $rows rows to /dev/null" "$(rate "$rows" "$copy_s")" rows/s "the limit"
	start_service <<-'Y'
		bucket_definitions:
		  all_items: { data: [SELECT * FROM items] }
		  mine: { parameters: SELECT request.user_id() AS user_id, data: ["SELECT id, title, quantity FROM items WHERE owner_id = bucket.user_id"] }
	Y
	line "first snapshot" "$(rate "$rows" "$to_checkpoint")" rows/s "$(ratio "$(rate "$rows" "$to_checkpoint")" "$(rate "$rows" "$copy_s")"); $(memory)"
	for n in 1 8; do
		result=$("$load" "$port" "$work/tokens" download $n $((n == 1 ? 3 : 1)))
		line "download, $n client$([ $n = 1 ] || echo s)" "$(field "$result" ops_per_s)" ops/s "$(field "$result" mb_per_s) MB/s, $(ratio "$(field "$result" ops_per_s)" "$(rate "$rows" "$copy_s")")"
	done
	sql "select pg_create_logical_replication_slot('bench_limit', 'pgoutput')" >/dev/null
	cpu=$(cpu_ms)
	t=$(now)
	write_rows "$stream_rows" 100
	wrote=$(seconds_since "$t")
	"$load" "$port" "$work/tokens" ack 1 >/dev/null
	caught=$(seconds_since "$t")
	line "stream, until acknowledged" "$(rate "$stream_rows" "$caught")" rows/s "written in $wrote s, acknowledged after $caught s"
	line "processor time for that" "$((($(cpu_ms) - cpu) * 1000 / stream_rows))" "ms per 1,000 rows" ""
	t=$(now)
	sql "select count(*) from pg_logical_slot_get_binary_changes('bench_limit', null, null, 'proto_version', '1', 'publication_names', 'powersync')" >/dev/null
	decoded=$(seconds_since "$t")
	line "the same changes decoded in SQL" "$(rate "$stream_rows" "$decoded")" rows/s "the limit, if nothing was written meanwhile"
	sql "select pg_drop_replication_slot('bench_limit')" >/dev/null
	stop_service
}

fleet() {
	new_database fleet
	sql "create table notices(id text primary key, title text not null, n int not null default 0)"
	sql "create table tasks(id text primary key, owner_id text not null, title text not null)"
	sql "insert into notices select 'n' || i, 'Notice ' || i from generate_series(1, 20) i"
	sql "insert into tasks select 't' || i, 'user' || (i % 50), 'Task ' || i from generate_series(1, 1000) i"
	sql 'create publication powersync for all tables'
	start_service <<-'Y'
		bucket_definitions:
		  notices: { data: [SELECT * FROM notices] }
		  mine: { parameters: SELECT request.user_id() AS user_id, data: [SELECT * FROM tasks WHERE owner_id = bucket.user_id] }
	Y
	local result
	psql -qAtX "$pg_uri/$database" >"$work/commits" <<-S
		create temp table t(ms float8);
		create table tick(id int primary key);
		do \$\$ declare s timestamptz; begin for i in 1..50 loop s := clock_timestamp(); insert into tick values (i); commit;
			insert into t values (1000 * extract(epoch from clock_timestamp() - s)); end loop; end \$\$;
		select round(percentile_cont(0.5) within group (order by ms)::numeric, 2) from t;
	S
	line "a commit in Postgres, median" "$(tail -1 "$work/commits")" ms "the limit"
	result=$("$load" "$port" "$work/tokens" ack "$rounds")
	line "acknowledge on an idle source, median" "$(field "$result" p50_ms)" ms "p95 $(field "$result" p95_ms)"
	result=$("$load" "$port" "$work/tokens" requests 50 50000)
	line "checkpoint requests, 50 connections" "$(field "$result" per_s)" requests/s "p99 $(field "$result" p99_ms) ms"
	result=$("$load" "$port" "$work/tokens" requests 5000 5000 1)
	line "5,000 reconnect within a second, p99" "$(field "$result" p99_ms)" ms "median $(field "$result" p50_ms) ms, all answered"
	result=$("$load" "$port" "$work/tokens" download 50 10)
	line "small first syncs, 50 at a time" "$(awk -v s="$(field "$result" seconds)" 'BEGIN {printf "%.0f", 500 / s}')" clients/s ""
	result=$("$load" "$port" "$work/tokens" idle "$clients" "$service")
	line "memory per idle client ($clients)" "$(field "$result" kb_per_client)" KB "all complete after $(field "$result" open_seconds) s"
	result=$("$load" "$port" "$work/tokens" fanout "$clients" 5 "psql -qX '$pg_uri/$database' -c \"update notices set n = n + 1 where id = 'n1'\"")
	line "one row to $clients clients, median" "$(field "$result" p50_ms)" ms "max $(field "$result" max_ms); with the start of psql"
	stop_service
}

# The service's largest anonymous memory while this runs: mapped pages of the store are the system's. No process is started for a look.
watch_memory() {
	echo 0 >"$work/peak"
	(
		exec 3<> <(:)
		most=0
		while status=$(<"/proc/$service/status") && [[ $status =~ RssAnon:[[:space:]]+([0-9]+) ]]; do
			kb=${BASH_REMATCH[1]}
			if [ "$kb" -gt "$most" ]; then most=$kb && echo "$most" >"$work/peak"; fi
			read -rt 0.05 -u 3 || true
		done
	) 2>/dev/null &
	watcher=$!
}
peak_memory() { awk '{printf "peak of %.0f MB anonymous", $1 / 1024}' "$work/peak"; }
# What is replicated is all of it; what the client of the measurement has to download is not.
unread_config() {
	cat <<-'Y'
		bucket_definitions:
		  all_items: { parameters: "SELECT WHERE request.user_id() = 'nobody'", data: [SELECT * FROM items] }
		  mine: { parameters: SELECT request.user_id() AS user_id, data: ["SELECT id, title, quantity FROM items WHERE owner_id = bucket.user_id"] }
	Y
}

snapshot() {
	new_database snapshot
	items "$rows"
	local t copy_s ratios='' one
	for run in $(seq "$runs"); do
		t=$(now)
		psql -qX "$pg_uri/$database" -c 'copy items to stdout' >/dev/null
		copy_s=$(seconds_since "$t")
		start_service < <(unread_config)
		one=$(awk -v a="$copy_s" -v b="$to_checkpoint" 'BEGIN {printf "%.3f", a / b}')
		ratios+="$one "
		line "snapshot $run of $rows rows" "$(rate "$rows" "$to_checkpoint")" rows/s "$one of COPY ($(rate "$rows" "$copy_s") rows/s); $(peak_memory)"
		stop_service
		rm -rf "$work/data-$database"
		sql "select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database() and not active" >/dev/null
	done
	line "median" "$(tr ' ' '\n' <<<"$ratios" | sed '/^$/d' | sort -n | sed -n "$(((runs + 1) / 2))p")" "of COPY" ""
}

followed() { # rows a transaction
	local t alone wrote caught decoded cpu
	new_database "alone_$1"
	items 1000
	t=$(now)
	write_rows "$stream_rows" "$1"
	alone=$(seconds_since "$t")
	new_database "followed_$1"
	items 1000
	start_service < <(unread_config)
	sql "select pg_create_logical_replication_slot('bench_limit', 'pgoutput')" >/dev/null
	cpu=$(cpu_ms)
	t=$(now)
	write_rows "$stream_rows" "$1"
	wrote=$(seconds_since "$t")
	"$load" "$port" "$work/tokens" ack 1 >/dev/null
	caught=$(seconds_since "$t")
	line "streamed, $1 rows a transaction" "$(rate "$stream_rows" "$caught")" rows/s "acknowledged after $caught s; $(peak_memory)"
	line "the source needed" "$wrote" s "so the service ended $(later "$caught" "$wrote") later"
	line "the source alone needed" "$alone" s "$(later "$caught" "$alone") more"
	line "processor time of the service" "$((($(cpu_ms) - cpu) * 1000 / stream_rows))" "ms per 1,000 rows" ""
	t=$(now)
	sql "select count(*) from pg_logical_slot_get_binary_changes('bench_limit', null, null, 'proto_version', '1', 'publication_names', 'powersync')" >/dev/null
	decoded=$(seconds_since "$t")
	sql "select pg_drop_replication_slot('bench_limit')" >/dev/null
	line "the same changes decoded in SQL" "$decoded" s "what the source needs after the commit of a single transaction before it sends all of it"
	stop_service
}
later() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.0f %%", 100 * (a / b - 1)}'; }
streaming() {
	followed 100
	followed "$stream_rows"
}

missed() { # rows a transaction
	new_database "missed_$1"
	items 1000
	start_service < <(unread_config)
	stop_service
	sql "select pg_create_logical_replication_slot('bench_limit', 'pgoutput')" >/dev/null
	local t wrote decoded caught
	t=$(now)
	write_rows "$stream_rows" "$1"
	wrote=$(seconds_since "$t")
	t=$(now)
	sql "select count(*) from pg_logical_slot_get_binary_changes('bench_limit', null, null, 'proto_version', '1', 'publication_names', 'powersync')" >/dev/null
	decoded=$(seconds_since "$t")
	sql "select pg_drop_replication_slot('bench_limit')" >/dev/null
	line "the changes decoded in SQL" "$(rate "$stream_rows" "$decoded")" rows/s "the limit; written in $wrote s"
	start_service < <(unread_config)
	t=$started
	"$load" "$port" "$work/tokens" ack 1 >/dev/null
	caught=$(seconds_since "$t")
	line "caught up, with the start" "$(rate "$stream_rows" "$caught")" rows/s "$(ratio "$(rate "$stream_rows" "$caught")" "$(rate "$stream_rows" "$decoded")"); $(peak_memory)"
	stop_service
}
backlog() { missed 100; }
transaction() { missed "$stream_rows"; }

# 20 users, each in 500 teams with a list of 10 todos: 500 keys to look up at the second step of the join, and 500 buckets.
buckets() {
	local storage users=20 lists=500 todos=10 syncs=40 result calls limit cpu
	new_database buckets_storage
	sql 'create extension pg_stat_statements'
	storage="{ type: postgresql, uri: \"$pg_uri/buckets_storage\", sslmode: disable }"
	new_database buckets
	sql "create table members(id serial primary key, user_id text, team_id text); create table lists(id text primary key, team_id text);
		create table todos(id serial primary key, list_id text, title text);
		insert into members(user_id, team_id) select 'user' || u, 't' || u || '_' || t from generate_series(0, $users - 1) u, generate_series(1, $lists) t;
		insert into lists select 'l' || team_id, team_id from members;
		insert into todos(list_id, title) select id, 'Todo ' || i || repeat(md5(id), 4) from lists, generate_series(1, $todos) i;
		create publication powersync for all tables"
	start_service <<-'Y'
		config: { edition: 3 }
		streams:
		  todos:
		    auto_subscribe: true
		    query: SELECT t.* FROM todos AS t, lists AS l, members AS m WHERE t.list_id = l.id AND l.team_id = m.team_id AND m.user_id = auth.user_id()
	Y
	database=buckets_storage
	limit=$(sql "set search_path = powersync; analyze; create temp table t(ms float8);
		do \$\$ declare s timestamptz; names text[]; begin
			select array_agg(distinct bucket_name) into names from bucket_data where bucket_name like '%[\"lt0\_%';
			for i in 1..20 loop s := clock_timestamp(); perform op_id, data from bucket_data where group_id = 1 and bucket_name = any (names);
			insert into t values (1000 * extract(epoch from clock_timestamp() - s)); end loop; end \$\$;
		select round(percentile_cont(0.5) within group (order by ms)::numeric, 1) from t" | tail -1)
	line "the $((lists * todos)) operations of one client in SQL" "$limit" ms "the limit"
	cpu=$(cpu_ms)
	for n in 1 8; do
		sql 'select pg_stat_statements_reset()' >/dev/null
		result=$("$load" "$port" "$work/tokens" download $n $((syncs / n)))
		calls=$(sql "select sum(calls) || ' ' || round(sum(total_exec_time)) from pg_stat_statements where query ~ 'bucket_data|bucket_parameters|write_checkpoints'
			and query !~ 'pg_stat_statements' and dbid = (select oid from pg_database where datname = 'buckets_storage')")
		line "first syncs of $lists buckets, $n at a time" "$(awk -v s="$(field "$result" seconds)" -v n=$syncs 'BEGIN {printf "%.1f", 1000 * s / n}')" "ms/client" \
			"$(awk -v c="${calls% *}" -v t="${calls#* }" -v n=$syncs 'BEGIN {printf "%.1f statements and %.1f ms in the database each", c / n, t / n}')"
	done
	line "processor time of the service" "$(awk -v c="$(($(cpu_ms) - cpu))" -v n=$((syncs * 2)) 'BEGIN {printf "%.1f", c / n}')" ms/client ""
	stop_service
	storage=''
}

[ $# -gt 0 ] || set -- bulk fleet
for phase in "$@"; do
	printf '\n%s\n' "$phase"
	"$phase"
done
