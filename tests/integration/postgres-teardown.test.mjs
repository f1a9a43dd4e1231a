// `syncline teardown` on a storage database: refused beside a node that replicates, complete without one, and a start makes all anew.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { World } from '../lib/world.mjs';

const SYNC = `config:
  edition: 3
streams:
  all:
    auto_subscribe: true
    query: SELECT id, n FROM items
`;

describe('teardown of a storage database', () => {
  let db, w;
  const teardown = (...words) => syncline(['teardown', ...words, '--json'], { config: w.service.configPath });
  const tables = async () => (await db.q("select tablename from pg_tables where schemaname = 'powersync' order by 1")).map((r) => r.tablename);

  before(async () => {
    db = await StorageDatabase.create('teardown');
    w = await World.started({ name: 'pgteardown', schema: 'create table items(id text primary key, n int)', sync: SYNC, config: { storage: db.config } });
    await w.q("insert into items select 'i' || i, i from generate_series(1, 100) i");
    await w.client().caughtUp();
  });
  after(async () => {
    await w?.destroy();
    await db?.destroy();
  });

  test('refused without the word, and beside a node that replicates', async () => {
    const mute = await teardown();
    assert.equal(mute.code, 150);
    assert.match(mute.out + mute.err, /PSYNC_S0102/);
    const refused = await teardown('TEARDOWN');
    assert.equal(refused.code, 1);
    assert.match(refused.out + refused.err, /PSYNC_S1003.*locked by a Syncline node that is running, until/s);
    assert.equal((await w.slots()).length, 1);
    await w.q("insert into items values ('beside', 0)");
    const c = w.client();
    await c.caughtUp();
    await c.equals('items', 'select id, n from items');
  });

  test('refused while a lock is not 60 s old, with the time of its end', async () => {
    await w.service.stop();
    const [stream] = await db.q('select id, slot_name from powersync.sync_rules');
    await db.q('insert into powersync.locks (name, lock_id, ts) values ($1, gen_random_uuid(), now())', [`sync_rules_${stream.id}_${stream.slot_name}`]);
    const refused = await teardown('TEARDOWN');
    assert.equal(refused.code, 1);
    assert.match(refused.out + refused.err, /PSYNC_S1003.*another process; if it is dead, until \d\d:\d\d:\d\d/s);
    assert.ok((await tables()).includes('bucket_data'));
    await db.q("update powersync.locks set ts = now() - interval '61 s'");
  });

  test('drops the slot and all tables but two', async () => {
    const r = await teardown('TEARDOWN');
    assert.equal(r.code, 0, r.out + r.err);
    assert.deepEqual(JSON.parse(r.out), { ok: true });
    assert.deepEqual(await tables(), ['connection_report_events', 'locks']);
    assert.deepEqual(await db.q("select sequencename from pg_sequences where schemaname = 'powersync'"), []);
    assert.deepEqual(await w.slots(), []);
  });

  test('a second time there is nothing to do', async () => {
    const r = await teardown('TEARDOWN');
    assert.equal(r.code, 0, r.out + r.err);
    assert.match(r.err, /no store/);
    assert.deepEqual(await tables(), ['connection_report_events', 'locks']);
  });

  test('a start afterwards begins anew', async () => {
    await w.q("delete from items where id < 'i5'");
    await w.service.start();
    await w.service.ready();
    const c = w.client();
    await c.caughtUp();
    await c.equals('items', 'select id, n from items');
    assert.deepEqual(await db.q('select id, state from powersync.sync_rules'), [{ id: 1, state: 'ACTIVE' }]);
    assert.equal((await w.slots()).length, 1);
  });
});
