#!/usr/bin/env bash
# Shows the service at work on this machine: a throw-away Postgres with lists and todos of two users, the service with its embedded
# store, and a client that prints what it receives. Takes under a minute, installs what is missing, leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${BUILD:-build}

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' cyan=$'\e[36m' yellow=$'\e[33m' red=$'\e[31m' off=$'\e[0m'
else
	bold='' dim='' green='' cyan='' yellow='' red='' off=''
fi
section() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
note() { printf '  %s%s%s\n' "$dim" "$*" "$off"; }
fail() { printf '\n%s%s%s\n' "$red" "$*" "$off" >&2; [ ! -s "$work/service.log" ] || tail -15 "$work/service.log" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/syncline-demo.XXXXXX")
pg_folder='' service='' clients=()
# shellcheck source=tests/lib/postgres.sh
. tests/lib/postgres.sh

cleanup() {
	trap - EXIT INT TERM
	for pid in "${clients[@]}" $service; do kill "$pid" 2>/dev/null || true; done
	wait 2>/dev/null || true
	postgres_stop "$pg_folder"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'echo; exit 130' INT
trap 'exit 143' TERM

sql() { psql -qAtX -v ON_ERROR_STOP=1 "$pg_uri/shop" -c "$1"; }
b64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

section "Getting ready"
scripts/install-packages.sh build run
TARGETS=syncline scripts/build.sh "$build"
[ -x "$build/syncline" ] || fail "there is no $build/syncline"
note "the service is built: $build/syncline"
postgres_start
psql -qX "$pg_uri/postgres" -c 'create database shop'
note "a Postgres of its own is running on port ${pg_uri##*:} (wal_level = logical)"

sql "
create table lists (id text primary key, name text not null, owner_id text not null);
create table todos (id text primary key, list_id text not null references lists, title text not null, done boolean not null default false);
insert into lists values ('l1', 'Groceries', 'alice'), ('l2', 'Garden', 'alice'), ('l3', 'Workshop', 'bob');
insert into todos values ('t1', 'l1', 'Bread'), ('t2', 'l1', 'Milk'), ('t3', 'l2', 'Plant tulips'), ('t4', 'l3', 'Sharpen chisels');
create publication powersync for all tables"

# ---- configuration, key, token ----
key=$(openssl rand 32 | b64url)
port=$(free_port)
cat >"$work/sync-config.yaml" <<'Y'
bucket_definitions:
  my_lists:
    parameters: SELECT id AS list_id FROM lists WHERE owner_id = request.user_id()
    data:
      - SELECT id, name FROM lists WHERE id = bucket.list_id
      - SELECT id, list_id, title, done FROM todos WHERE list_id = bucket.list_id
Y
cat >"$work/powersync.yaml" <<Y
replication:
  connections:
    - type: postgresql
      uri: $pg_uri/shop
      sslmode: disable
storage: { type: lmdb, path: data }
port: $port
sync_config: { path: sync-config.yaml }
client_auth:
  audience: [demo]
  jwks: { keys: [{ kty: oct, alg: HS256, kid: demo, k: $key }] }
Y
token() { # user
	local head body now
	now=$(date +%s)
	head=$(printf '{"alg":"HS256","typ":"JWT","kid":"demo"}' | b64url)
	body=$(printf '{"sub":"%s","aud":"demo","iat":%d,"exp":%d}' "$1" "$now" $((now + 3600)) | b64url)
	printf '%s.%s.%s' "$head" "$body" "$(printf '%s.%s' "$head" "$body" |
		openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf '%s=' "$key" | tr -- '-_' '+/' | openssl base64 -d -A | od -An -tx1 | tr -d ' \n')" -binary | b64url)"
}
api() { curl -sS --noproxy '*' --max-time 10 "$@"; }

# ---- the service ----
section "Starting the service"
started=$(now_ms)
"$build/syncline" start -c "$work/powersync.yaml" >"$work/service.log" 2>&1 &
service=$!
alive() { kill -0 "$service" 2>/dev/null || fail "the service ended; its log:"; }
until api -f -o /dev/null "http://127.0.0.1:$port/probes/readiness" 2>/dev/null; do
	alive
	[ $(($(now_ms) - started)) -lt 20000 ] || fail "the service is not ready after 20 s; its log:"
	sleep 0.02
done
note "ready after $(($(now_ms) - started)) ms on http://127.0.0.1:$port, embedded store, no other server"

# ---- a client: POST /sync/stream, one JSON line after the other ----
print_lines='
def row: "    " + .object_type + " " + .object_id + (if .op == "PUT" then "  " + .data else "  (removed)" end);
if .checkpoint then "checkpoint|\(.checkpoint.write_checkpoint // 0)|\(.checkpoint.buckets | length) buckets"
elif .checkpoint_diff then "checkpoint|\(.checkpoint_diff.write_checkpoint // 0)|\(.checkpoint_diff.updated_buckets | length) changed"
elif .data then .data.data[] | "row|\(.op)|\(row)"
elif .checkpoint_complete then "complete|\(.checkpoint_complete.last_op_id)|\(now * 1000 | floor)"
else empty end'
connect() { # user
	api --max-time 120 -N -X POST "http://127.0.0.1:$port/sync/stream" -H "Authorization: Token $(token "$1")" -H 'content-type: application/json' \
		-d "{\"buckets\":[],\"raw_data\":true,\"include_checksum\":true,\"client_id\":\"demo-$1\"}" 2>/dev/null |
		jq --unbuffered -r "$print_lines" >"$work/$1.lines" 2>/dev/null &
	clients+=($!)
}
seen=0
# Prints the rows that came since the last call, once `count` complete checkpoints are there.
show() { # user, completes to wait for
	local began shown=0 kind op text
	began=$(now_ms)
	until [ "$(grep -c '^complete' "$work/$1.lines" 2>/dev/null || true)" -ge "$2" ]; do
		alive
		[ $(($(now_ms) - began)) -lt 15000 ] || fail "no complete checkpoint for $1 within 15 s"
		sleep 0.005
	done
	waited=$(($(now_ms) - began))
	while IFS='|' read -r kind op text; do
		seen=$((seen + 1))
		[ "$kind" = row ] || continue
		shown=$((shown + 1))
		if [ "$op" = PUT ]; then printf '%s%s%s\n' "$cyan" "$text" "$off"; else printf '%s%s%s\n' "$yellow" "$text" "$off"; fi
	done < <(tail -n +$((seen + 1)) "$work/$1.lines")
}
completes() { grep -c '^complete' "$work/$1.lines" || true; }

section "Alice connects, and receives her lists and todos"
until [ "$(api -o "$work/answer" -w '%{http_code}' --max-time 1 -X POST "http://127.0.0.1:$port/sync/stream" -H "Authorization: Token $(token probe)" -H 'content-type: application/json' -d '{"buckets":[]}' 2>/dev/null || true)" = 200 ]; do
	alive
	[ $(($(now_ms) - started)) -lt 20000 ] || fail "no checkpoint after 20 s: $(cat "$work/answer" 2>/dev/null)"
	sleep 0.05
done
connect alice
show alice 1
note "Bob's list is not among them: the sync config selects by the user in the token."

section "Someone changes the database"
change() {
	local n
	n=$(completes alice)
	printf '  %s%s%s\n' "$green" "$1" "$off"
	sql "$1"
	show alice $((n + 1))
	note "at the client after $waited ms"
}
change "insert into todos values ('t5', 'l1', 'Coffee')"
change "update todos set done = true where id = 't1'"
change "delete from todos where id = 't2'"

section "Alice's app wrote through its own backend, and asks: has the stream caught up?"
# Prints when (ms) the complete line came that acknowledges the id; fails if it has not come.
acknowledged() { awk -F'|' -v want="$1" '$1 == "checkpoint" {w = $2} $1 == "complete" && w + 0 >= want {print $3; exit found = 1} END {exit !found}' "$work/alice.lines"; }
alice=$(token alice)
for id in 1 2 3; do
	began=$(now_ms)
	answer=$(api -X POST "http://127.0.0.1:$port/sync/checkpoint-request" -H "Authorization: Bearer $alice" -H 'content-type: application/json' \
		-d "{\"client_id\":\"demo-alice\",\"checkpoint_request_id\":\"$id\"}")
	[ "$(jq -r '.data.checkpoint_request_id // empty' <<<"$answer")" = "$id" ] || fail "the checkpoint request was refused: $answer"
	until arrived=$(acknowledged $id); do
		[ $(($(now_ms) - began)) -lt 10000 ] || fail "checkpoint request $id is not acknowledged after 10 s"
		sleep 0.002
	done
	printf '  checkpoint request %d: acknowledged in the stream %s%d ms%s after curl was started\n' "$id" "$bold" $((arrived - began)) "$off"
done

section "An orderly end"
began=$(now_ms)
kill -TERM "$service"
wait "$service" && status=0 || status=$?
service=''
[ "$status" -eq 0 ] || fail "exit code $status"
note "SIGTERM: streams ended with their last chunk, exit code 0, after $(($(now_ms) - began)) ms"

section "On your own database"
cat <<T
  In Postgres (wal_level = logical; the role needs REPLICATION and SELECT on the tables):

    ${green}create publication powersync for all tables;${off}

  powersync.yaml, in ten lines:

    ${cyan}replication:
      connections:
        - { type: postgresql, uri: "postgresql://user:password@host:5432/database", sslmode: verify-full }
    port: 8080
    sync_config:
      content: |
        bucket_definitions: { all: { data: [SELECT * FROM lists, SELECT * FROM todos] } }
    client_auth:
      audience: [my-app]
      jwks_uri: https://my-backend.example/.well-known/jwks.json${off}

  Then: ${bold}$build/syncline start -c powersync.yaml${off}    (README.md has more)
T
