// What happens to the source of a storage database: the slot is lost, tables are emptied and dropped. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `create table items(id text primary key, owner text not null, n int not null);
  create table notes(id text primary key, body text)`;
const SYNC = `config:
  edition: 3
streams:
  all:
    auto_subscribe: true
    queries:
      - SELECT id, owner, n FROM items
      - SELECT id, body FROM notes
`;
const ITEMS = 'select id, owner, n from items';
const NOTES = 'select id, body from notes';

describe('changes of the source of a storage database', () => {
  let db, w, c;
  const streams = () => db.q('select id, state, slot_name from powersync.sync_rules order by id');
  const same = async () => {
    await c.caughtUp(40000);
    await c.equals('items', ITEMS);
    await c.equals('notes', NOTES);
  };

  before(async () => {
    db = await StorageDatabase.create('changes');
    w = await World.create({ name: 'pgchanges', schema: SCHEMA, sync: SYNC, config: { storage: db.config } });
    await w.q("insert into items select 'i' || i, 'user' || i % 3, i from generate_series(1, 300) i");
    await w.q("insert into notes select 'n' || i, repeat('x', i) from generate_series(1, 300) i");
    await w.service.start();
    await w.service.ready();
    c = w.client();
    await same();
  });
  after(async () => {
    await w?.destroy();
    await db?.destroy();
  });

  test('TRUNCATE, with rows before and after it in the same transaction', async () => {
    await w.tx(async (q) => {
      await q.query("insert into items values ('before', 'user1', 1)");
      await q.query('truncate items');
      await q.query("insert into items values ('after', 'user1', 2)");
    });
    await same();
    await w.q('truncate items, notes');
    await w.q("insert into notes values ('n1', 'again')");
    await same();
  });

  test('a dropped table, which is made again', async () => {
    await w.q("insert into items select 'd' || i, 'user1', i from generate_series(1, 300) i");
    await same();
    await w.q('drop table items');
    await w.q("insert into notes values ('n2', 'items are no more')");
    await c.caughtUp(40000);
    await c.equals('notes', NOTES);
    await w.q('create table items(id text primary key, owner text not null, n int not null)');
    await w.q("insert into items values ('d1', 'user2', 7), ('new', 'user1', 8)");
    await same();
  });

  test('the slot is lost while the service is down: the old stream serves until the new one is filled', async () => {
    await w.service.stop();
    const [old, ...more] = await streams();
    assert.deepEqual([old.state, more], ['ACTIVE', []]);
    await w.q('select pg_drop_replication_slot($1)', [old.slot_name]);
    await w.q("delete from items where id = 'd1'");
    await w.q("update notes set body = 'missed' where id = 'n1'");
    await w.q("insert into items values ('missed', 'user1', 9)");
    const lock = await w.pool.connect(); /* the new stream cannot be filled */
    try {
      await lock.query('begin; lock table notes in access exclusive mode');
      await w.service.start();
      await eventually(async () => (await streams()).map((s) => s.state).join() === 'ERRORED,PROCESSING', { timeout: 20000, what: () => `a new stream is made:\n${w.service.tail()}` });
      const late = await w.client().synced();
      assert.ok(late.fold.rows('items').has('d1'), 'the old stream is served');
    } finally {
      await lock.query('rollback');
      lock.release();
    }
    await eventually(async () => (await streams())[1].state === 'ACTIVE', { timeout: 20000, what: () => `the new stream is active:\n${w.service.tail()}` });
    await same();
    await eventually(async () => (await streams())[0].state === 'TERMINATED', { timeout: 20000, what: 'the old stream is removed' });
    const [, now] = await streams();
    assert.deepEqual((await w.slots()).map((s) => s.slot_name), [now.slot_name]);
    await w.q("insert into items values ('later', 'user1', 10)");
    await same();
  });
});
