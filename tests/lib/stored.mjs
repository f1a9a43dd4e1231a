// Stores that are kept as test data: how they are made, and how they are laid out in tests/data/stores/NAME/.
//   data.mdb.gz, requests.mdb.gz  the store after an orderly stop
//   client.json                   what a client held before the last changes: name -> { after, sum, count, rows }
//   rows.json                     table -> rows that a new client is given
// To make one with some build of the program: SYNCLINE=/path/to/syncline PG_URI=postgres://... node tests/lib/stored.mjs NAME
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync, gzipSync } from 'node:zlib';
import { World } from './world.mjs';

export const folderOf = (name) => fileURLToPath(new URL(`../data/stores/${name}/`, import.meta.url));
const FILES = ['data.mdb', 'requests.mdb'];
export const TABLES = ['items', 'notes'];

export const SCHEMA = `create table items(id text primary key, owner text not null, n int not null, body text);
  alter table items alter column body set storage external;
  create table members(id text primary key, "user" text not null, team text not null);
  create table notes(id text primary key, team text not null, n int not null)`;
export const SYNC = `bucket_definitions:
  all:
    data:
      - SELECT id, owner, n, body FROM items
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, owner, n, body FROM items WHERE owner = bucket.owner
  team:
    parameters: SELECT team FROM members WHERE "user" = request.user_id()
    data:
      - SELECT id, team, n FROM notes WHERE team = bucket.team
`;
export const USER = 'user1';

export function unpack(name, to) {
  fs.mkdirSync(to, { recursive: true });
  for (const f of FILES) fs.writeFileSync(path.join(to, f), gunzipSync(fs.readFileSync(folderOf(name) + `${f}.gz`)));
}

export const read = (name, file) => JSON.parse(fs.readFileSync(folderOf(name) + file));

/** What a fold holds, as text and back. */
export const freeze = (fold) => ({
  lastOp: String(fold.lastOp),
  writeCheckpoint: fold.writeCheckpoint,
  buckets: Object.fromEntries([...fold.buckets].map(([k, b]) => [k, { ...b, after: String(b.after), rows: [...b.rows].map(([key, r]) => [key, { ...r, op: String(r.op) }]) }]))
});
export function thaw(fold, frozen) {
  fold.lastOp = BigInt(frozen.lastOp);
  for (const [k, b] of Object.entries(frozen.buckets)) fold.buckets.set(k, { ...b, after: BigInt(b.after), rows: new Map(b.rows.map(([key, r]) => [key, { ...r, op: BigInt(r.op) }])) });
}

async function churn(w, rounds) {
  for (let i = 0; i < rounds; i++) {
    await w.q('update items set n = n + 1 where id like $1', [`%${i % 10}`]);
    await w.q(`update items set owner = 'user' || ($1::int % 3) where id = 'i' || $1`, [1 + i]);
    await w.q(`delete from notes where id = 'n' || $1`, [3 * i + 1]);
    await w.q(`update notes set team = 't' || ($1::int % 3), n = n + 1 where id = 'n' || $1`, [2 * i + 2]);
    await w.q(`update members set team = 't' || ($1::int % 3) where id = 'm' || (1 + $1 % 3)`, [i]);
  }
}

async function make(name) {
  const w = await World.started({ name: 'stored', schema: SCHEMA, sync: SYNC });
  try {
    await w.q(`insert into items select 'i' || i, 'user' || (i % 3), 0, case when i % 10 = 0 then repeat(md5(i::text), 70) else md5(i::text) end from generate_series(1, 60) i`);
    await w.q(`insert into notes select 'n' || i, 't' || (i % 3), 0 from generate_series(1, 40) i`);
    await w.q(`insert into members values ('m1', 'user1', 't1'), ('m2', 'user1', 't2'), ('m3', 'user2', 't2')`);
    const early = await w.client({ user: USER }).synced();
    await churn(w, 8);
    await early.caughtUp();
    early.close();
    await churn(w, 8);
    const late = w.client({ user: USER });
    await late.caughtUp();
    const folder = folderOf(name);
    fs.mkdirSync(folder, { recursive: true });
    fs.writeFileSync(`${folder}client.json`, JSON.stringify(freeze(early.fold)));
    fs.writeFileSync(`${folder}rows.json`, JSON.stringify(Object.fromEntries(TABLES.map((t) => [t, [...late.fold.rows(t).values()]]))));
    await w.service.stop();
    for (const f of FILES) fs.writeFileSync(`${folder}${f}.gz`, gzipSync(fs.readFileSync(path.join(w.service.dir, 'data', f)), { level: 9 }));
  } finally {
    await w.destroy();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await make(process.argv[2]);
  process.exit(0);
}
