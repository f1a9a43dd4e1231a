// A deploy that changes how values are mapped, with a storage database: what is stored of rows (their identity, the copy of their values) is that of
// the stream it belongs to. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `create table visits(id text not null, at timestamptz primary key, n int not null, times timestamptz[], note text);
  alter table visits alter times set storage external, alter note set storage external`;
const LEGACY = `bucket_definitions:
  all:
    data:
      - SELECT id, n, note FROM visits
`;
const MODERN = `config:
  edition: 3
streams:
  all:
    auto_subscribe: true
    query: SELECT id, n, note FROM visits
`;
const SQL = 'select id, n, note from visits';

describe('a deploy with another mapping of times', () => {
  let db, w, c;
  const same = async () => {
    await c.caughtUp();
    await eventually(async () => (await c.equals('visits', SQL), true), { what: 'rows that wait for being read again are complete' });
  };
  before(async () => {
    db = await StorageDatabase.create('mapping');
    w = await World.create({ name: 'mapping', schema: SCHEMA, sync: LEGACY, config: { storage: db.config } });
    await w.q(`insert into visits select 'v' || i, '2026-01-01T00:00:00.5Z'::timestamptz + i * interval '1 hour', 0,
      array(select now() + k * interval '1 minute' from generate_series(1, 500) k), repeat(md5(i::text), 200) from generate_series(1, 50) i`);
    await w.service.start();
    await w.service.ready();
    c = w.client();
    await same();
  });
  after(async () => {
    await w?.destroy();
    await db?.destroy();
  });

  for (const [name, config] of [['newer', MODERN], ['older', LEGACY + '\n']])
    test(`to the ${name} one: rows that were read before it are known after it`, async () => {
      const n = (await db.q('select id from powersync.sync_rules')).length;
      await w.q("update visits set n = n + 1 where id like 'v1%'");
      w.service.sync = config;
      await w.service.stop();
      await w.service.writeConfig();
      await w.service.start();
      await w.service.ready();
      await eventually(async () => (await db.q('select state from powersync.sync_rules order by id'))[n]?.state === 'ACTIVE', { what: 'the new config is active' });
      await w.q("update visits set n = n + 1 where id like 'v2%'; update visits set n = 7, at = at + interval '1 minute' where id in ('v3', 'v4')");
      await w.q("delete from visits where id in ('v5', 'v21', 'v3')");
      await same();
      await w.q("insert into visits select 'v' || i, '2027-01-01T00:00:00.5Z'::timestamptz + i * interval '1 hour', 0, null, 'again' from generate_series(1, 50) i where not exists (select from visits v where v.id = 'v' || i)");
      await same();
      const [{ images }] = await db.q("select count(*)::int as images from powersync.current_data where group_id = (select id from powersync.sync_rules where state = 'ACTIVE')");
      assert.equal(images, 50, 'one image for each row');
    });
});
