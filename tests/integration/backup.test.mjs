// Copies of the store: taken while it runs, put back after the source went on.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `create table lists(id text primary key, name text); insert into lists select 'l' || i, 'list ' || i from generate_series(1, 500) i`;
const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n';

const hasMdbCopy = (() => {
  try {
    execFileSync('mdb_copy', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** `take` copies the store into a folder; then the source goes on, and the copy is put back. */
async function restore(name, take) {
  const w = await World.started({ name, schema: SCHEMA, sync: SYNC });
  try {
    const store = path.join(w.service.dir, 'data');
    const copy = path.join(w.service.dir, 'copy');
    const client = await w.client().synced();
    await take(w, store, copy);
    await w.q(`insert into lists values ('after', 'only in the source'); update lists set name = 'changed' where id = 'l1'; delete from lists where id = 'l2'`);
    await client.caughtUp();
    const [{ written }] = await w.q('select pg_current_wal_lsn()::text as written');
    await eventually(
      async () => {
        await w.q(`select pg_logical_emit_message(true, 'test', 'on')`);
        const [slot] = await w.q('select confirmed_flush_lsn >= $1::pg_lsn as beyond from pg_replication_slots where database = current_database()', [written]);
        return slot.beyond;
      },
      { timeout: 40000, every: 500, what: 'the slot has moved on' }
    );
    await w.service.stop();
    client.stream.close();
    fs.rmSync(store, { recursive: true });
    fs.renameSync(copy, store);
    await w.service.start();
    await w.service.ready();
    const fresh = w.client();
    await eventually(async () => {
      await fresh.caughtUp();
      await fresh.equals('lists', 'select * from lists');
      return true;
    }, { timeout: 30000, what: 'what was missed is there' });
  } finally {
    await w.destroy();
  }
}

test('a store restored from a copy of its files catches up with what it missed', () =>
  restore('backup-stop', async (w, store, copy) => {
    await w.service.stop();
    fs.cpSync(store, copy, { recursive: true });
    await w.service.start();
    await w.service.ready();
  }));

test('a copy made by mdb_copy beside the running service is a backup', { skip: !hasMdbCopy && 'mdb_copy (lmdb-utils) is not installed' }, () =>
  restore('backup-hot', async (w, store, copy) => {
    fs.mkdirSync(copy, { mode: 0o700 });
    for (const f of ['data.mdb', 'requests.mdb']) execFileSync('mdb_copy', ['-n', path.join(store, f), path.join(copy, f)]);
  }));
