// A deploy on a storage database whose stream has no operation of its own: its first checkpoint is no lower than the last one of the stream that it
// replaces, and clients follow. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = 'create table items(id text primary key, n int); create table later(id text primary key, n int)';
const sync = (table) => `config: { edition: 3 }
streams:
  all: { auto_subscribe: true, query: SELECT * FROM ${table} }
`;

describe('a deploy of a config that reads empty tables', () => {
  let db, w, c;
  const op = async () => Number((await db.q("select last_checkpoint as op from powersync.sync_rules where state = 'ACTIVE'"))[0].op);

  before(async () => {
    db = await StorageDatabase.create('empty');
    w = await World.create({ name: 'empty', schema: SCHEMA, sync: sync('items'), config: { storage: db.config } });
    await w.q("insert into items select 'i' || i, i from generate_series(1, 100) i");
    await w.service.start();
    await w.service.ready();
    c = await w.client().synced();
    await c.equals('items', 'select * from items');
  });
  after(async () => {
    await w?.destroy();
    await db?.destroy();
  });

  test('clients that are connected, and new ones, follow', async () => {
    const before = await op();
    assert.ok(before >= 100);
    w.service.sync = sync('later');
    await w.service.stop();
    await w.service.writeConfig();
    await w.service.start();
    await w.service.ready();
    await eventually(async () => (await db.q('select state from powersync.sync_rules order by id'))[1]?.state === 'ACTIVE', { what: 'the new config is active' });
    assert.ok((await op()) >= before, 'op ids of checkpoints do not go back');
    const d = await w.client({ user: 'user2' }).synced();
    await d.equals('later', 'select * from later');
    await c.caughtUp();
    await c.equals('later', 'select * from later');
    await c.equals('items', 'select * from items where false');
    await w.q("insert into later values ('a', 1)");
    await d.caughtUp();
    await d.equals('later', 'select * from later');
  });

  test('also where another program let the checkpoint go back', async () => {
    const before = await op();
    const [active] = await db.q("select id from powersync.sync_rules where state = 'ACTIVE'");
    await db.q(
      // It holds the lock of the new stream, or this node would go on with it at once.
      `with stopped as (update powersync.sync_rules set state = 'STOP' where id = $1),
       added as (insert into powersync.sync_rules (id, state, snapshot_done, last_checkpoint, last_checkpoint_lsn, slot_name, content, storage_version)
       select nextval('powersync.sync_rules_id_sequence'), 'ACTIVE', true, 1, last_checkpoint_lsn, slot_name || 'x', content, 2 from powersync.sync_rules where id = $1
         returning id, slot_name)
       insert into powersync.locks select 'sync_rules_' || id || '_' || slot_name, gen_random_uuid(), now() from added`,
      [active.id]
    );
    assert.ok(before > 1);
    await eventually(
      async () => {
        const d = await w.client({ user: 'user3' }).synced();
        return d.fold.lastOp === 1n;
      },
      { what: 'new clients are served what is active' }
    );
  });
});
