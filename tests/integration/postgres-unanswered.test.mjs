// The connection to the storage database is lost after a COMMIT was sent and before its answer came: was it carried out? Nothing may be lost, and
// nothing written twice, whether the database carried it out at once or is still at it when the node goes on; nor when the database refuses a
// transaction in its middle. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SourceRelay } from '../lib/relay.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = 'create table items(id text primary key, n int not null)';
const LATE_MS = 1000;
const sync = (n) => `config:
  edition: 3
streams:
  all:
    auto_subscribe: true
    query: SELECT id, ${n} AS n FROM items
`;

describe('a COMMIT that gets no answer', () => {
  let db, relay, w, c, n = 'n';
  const written = () => db.q("select row_id, count(*)::int as n from powersync.bucket_data where op = 'PUT' group by 1 having count(*) > 1");
  const same = async () => {
    await c.caughtUp();
    await c.equals('items', `select id, ${n} as n from items`);
    assert.deepEqual(await written(), [], 'no row was written twice');
  };
  const commits = (d) => d.includes('syncline_streams') && d.includes('COMMIT');

  before(async () => {
    db = await StorageDatabase.create('unanswered');
    relay = await SourceRelay.before(db.uri);
    w = await World.create({ name: 'unanswered', schema: SCHEMA, sync: sync('n'), config: { storage: { ...db.config, uri: relay.uri } } });
    await w.q("insert into items select 'i' || i, i from generate_series(1, 300) i");
  });
  after(async () => {
    await w?.destroy();
    await relay?.close();
    await db?.destroy();
  });

  test('of a table that is read for the first time', async () => {
    const gone = relay.cutBeforeAnswer((d) => commits(d) && d.includes('snapshot_done'));
    await w.service.start();
    await gone;
    await w.service.ready();
    c = w.client();
    await same();
  });

  for (const late of [0, LATE_MS])
    test(`of changes${late ? ', carried out only when the node has another connection' : ''}`, async () => {
      for (let i = 0; i < (late ? 1 : 3); i++) {
        const gone = relay.cutBeforeAnswer(commits, late);
        await w.q(`insert into items select 'c${late}-${i}-' || k, k from generate_series(1, 500) k`);
        await gone;
        await same();
      }
      await w.q("delete from items where id like 'c%'");
      await same();
    });

  test('errors of the database in the middle of a transaction: the batch is written when it can be, once', async () => {
    // Disk full, serialisation failure, deadlock, out of memory, administrator's stop.
    await db.q(`create table public.fault (code text); create function public.fail() returns trigger language plpgsql as
      'declare c text; begin select code into c from public.fault; if c is not null then raise exception ''simulated %'', c using errcode = c; end if; return null; end';
      create trigger failing after insert on powersync.bucket_data for each statement execute function public.fail()`);
    for (const code of ['53100', '40001', '40P01', '53200', '57P01']) {
      await db.q('insert into public.fault values ($1)', [code]);
      await w.q(`insert into items select 'e${code}-' || k, k from generate_series(1, 500) k`);
      await eventually(() => w.service.log.includes(`simulated ${code}`), { what: () => `the error is told:\n${w.service.tail()}` });
      await db.q('delete from public.fault');
      await same();
    }
  });

  for (const late of [0, LATE_MS])
    test(`of an activation${late ? ', carried out only when the node has another connection' : ''}`, async () => {
      n = `n * ${late ? 3 : 2}`;
      await w.service.stop();
      w.service.sync = sync(n);
      await w.service.writeConfig();
      const gone = relay.cutBeforeAnswer((d) => commits(d) && d.includes("state = 'ACTIVE'"), late);
      await w.service.start();
      await gone;
      await w.service.ready();
      const states = async () => (await db.q('select state from powersync.sync_rules order by id')).map((r) => r.state).join();
      await eventually(async () => /^(TERMINATED,)+ACTIVE$/.test(await states()), { timeout: 20000, what: () => `the old stream is removed:\n${w.service.tail()}` });
      await same();
      const [{ slot_name: slot }] = await db.q("select slot_name from powersync.sync_rules where state = 'ACTIVE'");
      assert.deepEqual((await w.slots()).map((s) => s.slot_name), [slot]);
      await w.q("update items set n = n + 1 where id = 'i7'");
      await c.caughtUp();
      await c.equals('items', `select id, ${n} as n from items`);
      await w.q("delete from items where id = 'i7'; insert into items values ('i7', 7)");
      await c.caughtUp();
      await c.equals('items', `select id, ${n} as n from items`);
    });
});
