// Replication into a storage database: rows, deploys, restarts, and a second node that takes over. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `create table items(id text primary key, owner text not null, n int not null, body text);
  create table members(id text primary key, "user" text not null, team text not null)`;
const sync = (n) => `config:
  edition: 3
streams:
  all:
    auto_subscribe: true
    query: SELECT id, owner, ${n} AS n, body FROM items
`;
const SQL = 'select id, owner, n, body from items';

describe('replication into a storage database', () => {
  let db, w, c, second;
  const states = async () => (await db.q('select state from powersync.sync_rules order by id')).map((r) => r.state);
  const cut = () =>
    db.q("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name like 'syncline-storage%'");

  before(async () => {
    db = await StorageDatabase.create('replication');
    w = await World.create({ name: 'pgstore', schema: SCHEMA, sync: sync('n'), config: { storage: db.config } });
    await w.q("insert into items select 'i' || i, 'user' || i % 3, i, repeat('x', i) from generate_series(1, 500) i");
    await w.service.start();
    await w.service.ready();
    c = w.client();
  });
  after(async () => {
    await second?.stop();
    await w?.destroy();
    await db?.destroy();
  });

  test('what was there and what changes', async () => {
    await c.caughtUp();
    await c.equals('items', SQL);
    await w.q("update items set n = n + 1 where id like 'i1%'");
    await w.q("delete from items where id like 'i2%'");
    await w.q("update items set id = 'moved' where id = 'i30'");
    await c.caughtUp();
    await c.equals('items', SQL);
    assert.deepEqual(await states(), ['ACTIVE']);
    const [stream] = await db.q('select slot_name, snapshot_done, keepalive_op, storage_version from powersync.sync_rules');
    assert.equal(stream.snapshot_done, true);
    assert.equal(stream.storage_version, 2);
    assert.deepEqual((await w.slots()).map((s) => s.slot_name ?? s), [stream.slot_name]);
  });

  test('a value that an update leaves out', async () => {
    await w.q("insert into items select 'big', 'user1', 1, string_agg(md5(i::text), '') from generate_series(1, 1000) i");
    await c.caughtUp();
    await w.q("update items set n = 2 where id = 'big'");
    await c.caughtUp();
    await c.equals('items', SQL);
  });

  test('kill -9 and a restart', async () => {
    await w.service.kill9();
    await w.q("insert into items values ('while away', 'user1', 1, 'x')");
    await w.service.start();
    await w.service.ready();
    await c.caughtUp();
    await c.equals('items', SQL);
    assert.deepEqual(await states(), ['ACTIVE']);
  });

  test('connections to the storage that are cut lose and double nothing', async () => {
    for (let i = 0; i < 5; i++) {
      await w.q(`insert into items select 'cut${i}-' || k, 'user1', k, 'y' from generate_series(1, 2000) k`);
      await cut();
    }
    await c.caughtUp();
    await c.equals('items', SQL);
  });

  test('another config is filled beside the active one, and takes its place', async () => {
    w.service.sync = sync('n * 2');
    await w.service.stop();
    await w.service.writeConfig();
    await w.service.start();
    await w.service.ready();
    await eventually(async () => (await states())[1] === 'ACTIVE', { what: 'the new config is active' });
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n * 2 as n, body from items');
    await w.q("update items set n = 7 where id = 'big'");
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n * 2 as n, body from items');
  });

  test('the replaced stream is removed with its slot, though the source is never idle', async () => {
    let busy = true;
    const write = async () => {
      while (busy) await w.q("update items set n = n + 1 where id in ('i1', 'i3')");
    };
    const writing = [write(), write()];
    try {
      await eventually(async () => (await states())[0] === 'TERMINATED', { what: 'the old stream is removed' });
    } finally {
      busy = false;
      await Promise.all(writing);
    }
    assert.equal((await w.slots()).length, 1);
    const [left] = await db.q('select count(*)::int as n from powersync.bucket_data where group_id = 1');
    assert.equal(left.n, 0);
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n * 2 as n, body from items');
  });

  test('a second node stands by, and takes over when the first one is killed', async () => {
    second = new Service({ dir: temporaryFolder('second'), sourceUri: w.sourceUri, sync: sync('n * 2'), config: { storage: db.config } });
    await second.start();
    await second.ready();
    await eventually(() => /PSYNC_S1003.*standing by/.test(second.log), { what: 'standing by' });
    await w.service.kill9();
    await w.q("insert into items values ('taken over', 'user1', 1, 'z')");
    await eventually(() => /This process replicates from now on/.test(second.log), { timeout: 10000, what: 'take-over' });
    w.service.url = second.url;
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n * 2 as n, body from items');
  });

  test('a node whose lock was taken over writes nothing more', async () => {
    const from = second.log.length;
    await db.q('update powersync.locks set lock_id = gen_random_uuid(), ts = now()');
    const count = async () => (await db.q('select count(*)::int as n from powersync.bucket_data'))[0].n;
    const n = await count();
    await w.q("insert into items values ('fenced', 'user1', 1, 'z')");
    // Not only when the lock is refreshed the next time, up to 20 s later.
    await eventually(() => /\[PSYNC_S1003\] Replication stream is locked by another process, standing by\. \(/.test(second.log.slice(from)), { what: 'the node stands by' });
    assert.equal(await count(), n);
    await db.q('delete from powersync.locks');
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n * 2 as n, body from items');
  });
});
