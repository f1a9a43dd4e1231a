// Values that an update leaves out (unchanged TOAST values), with a storage database: of each type, with replica identity default and full, on each
// storage version. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually, sleep } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const COLUMNS = 'id text primary key, note int not null, j jsonb, b bytea, t text[], i int[], d numeric, x xml, f float8[], z timestamptz[], p place';
const SCHEMA = `create type place as (name text, at int);
  create table docs(${COLUMNS}); create table whole(${COLUMNS}); alter table whole replica identity full;
  create table plain(id text primary key, body varchar(100)); alter table plain replica identity full;
  alter table docs alter j set storage external, alter b set storage external, alter t set storage external, alter i set storage external, alter x set storage external;
  alter table docs alter d set storage external, alter f set storage external, alter z set storage external, alter p set storage external;
  create table lists(id text primary key, words text[], filler int); alter table lists alter words set storage external`;
const LARGE = `jsonb_build_object('k', k, 'text', repeat(md5(k::text), 100), 'null', null), decode(repeat(md5(k::text), 200), 'hex'),
  array(select md5((k * m)::text) || ' "q", {}' from generate_series(1, 100) m), array(select k * m from generate_series(1, 1000) m), (repeat('7', 9000) || '.' || k || '0')::numeric,
  ('<a>' || repeat(md5(k::text), 100) || '</a>')::xml, array(select m * 0.5 from generate_series(1, 1000) m), array(select '2026-01-01Z'::timestamptz + m * interval '1 s' from generate_series(1, 1000) m)`;
const sync = (version) => `config:
  edition: 3
${version > 1 ? `  storage_version: ${version}\n` : ''}streams:
  all:
    auto_subscribe: true
    queries:
      - SELECT id, note, j, hex(b) AS b, t, i, d, x, f, z FROM docs
      - SELECT id, note, j, hex(b) AS b, t, i, d, x, f, z FROM whole
      - SELECT * FROM plain
  by_word:
    auto_subscribe: true
    query: SELECT id, filler FROM lists WHERE auth.user_id() IN words
`;
const SQL = (table) => `select id, note, j::text as j, upper(encode(b, 'hex')) as b, to_json(t)::text as t, to_json(i)::text as i, d::text as d, x::text as x,
  '[' || (select string_agg(case when v = floor(v) then v || '.0' else v::text end, ',' order by n) from unnest(f) with ordinality e(v, n)) || ']' as f,
  '[' || (select string_agg(to_char(v at time zone 'utc', '"\\""YYYY-MM-DD"T"HH24:MI:SS.US"Z\\""'), ',' order by n) from unnest(z) with ordinality e(v, n)) || ']' as z from ${table}`;

for (const version of [1, 2, 3])
  describe(`values that are left out (storage version ${version})`, () => {
    let db, w, c;
    const waited = async () => (await db.q('select count(*)::int as n from public.waited'))[0].n;
    const same = async () => {
      await c.caughtUp();
      for (const table of ['docs', 'whole']) await c.equals(table, SQL(table));
      await c.equals('plain', 'select * from plain');
      await c.equals('lists', "select id, filler from lists where 'user1' = any (words)");
    };
    before(async () => {
      db = await StorageDatabase.create(`values_${version}`);
      w = await World.create({ name: `values_${version}`, schema: SCHEMA, sync: sync(version), config: { storage: db.config } });
      for (const table of ['docs', 'whole']) await w.q(`insert into ${table} (id, note, j, b, t, i, d, x, f, z) select 'r' || k, 0, ${LARGE} from generate_series(1, 20) k`);
      await w.q("insert into plain select 'p' || k, repeat('x', k) from generate_series(1, 50) k");
      await w.q("insert into lists select 'l' || k, array(select 'user' || (k * m) from generate_series(1, 500) m), 0 from generate_series(1, 6) k");
      await w.service.writeConfig();
      assert.equal((await syncline(['migrate', 'up'], { config: w.service.configPath })).code, 0);
      // No new stream is of version 1: this one was deployed by an older service, which did not get as far as to fill it.
      if (version === 1)
        await db.q("insert into powersync.sync_rules (id, state, content, slot_name, storage_version) values (nextval('powersync.sync_rules_id_sequence'), 'PROCESSING', $1, 'old_1_' || $2, 1)", [sync(1), process.pid]);
      await w.service.start();
      await w.service.ready();
      await db.q(`create table public.waited (k bytea); create function public.wait_noted() returns trigger language plpgsql as
        'begin insert into public.waited values (new.source_key); return new; end';
        create trigger noted before insert on powersync.syncline_incomplete_rows for each row execute function public.wait_noted()`);
      c = w.client();
      await same();
      const [stream] = await db.q('select storage_version from powersync.sync_rules');
      assert.equal(stream.storage_version, version);
    });
    after(async () => {
      await w?.destroy();
      await db?.destroy();
    });

    test('they come from what is stored: no row waits for being read again', async () => {
      await w.q('update docs set note = note + 1; update whole set note = note + 1; update lists set filler = 1');
      await same();
      await w.q(`insert into docs (id, note, j, b, t, i, d, x, f, z) select 's' || k, 0, ${LARGE} from generate_series(1, 5) k`);
      await w.q("update docs set note = 5, id = 'moved' where id = 's1'; update docs set note = 6 where id = 's2'");
      await w.q("update docs set note = 7, j = '{}' where id = 's3'; delete from docs where id = 's4'; update docs set note = 8 where id = 's3'");
      await w.q("update whole set note = 9, id = 'moved' where id = 'r1'");
      await same();
      assert.equal(await waited(), 0);
    });

    test('the same after a restart, with rows that are only in the database', async () => {
      await w.service.kill9();
      await w.q("update docs set note = 20 where id like 'r1%'");
      await w.service.start();
      await w.service.ready();
      await w.q("update docs set note = 21 where id like 'r2%'; update lists set filler = 2 where id = 'l1'");
      await same();
      assert.equal(await waited(), 0);
    });

    test('a value whose mapping may differ is read again', async () => {
      await w.q("update docs set p = row(repeat('name', 2000), 1)::place where id in ('r3', 'r4')");
      await same();
      await w.q("update docs set note = 30 where id in ('r3', 'r4')");
      await same();
      assert.equal(await waited(), 2);
    });

    test('a request made after such an update is not acknowledged before the row is there', async () => {
      const writer = await w.pool.connect(), holder = await w.pool.connect();
      try {
        await writer.query("begin; update docs set note = 31 where id = 'r3'");
        await holder.query('begin');
        const locked = holder.query('lock table docs in access exclusive mode'); // it is next: no reader comes in between
        await eventually(async () => (await w.q("select from pg_locks where mode = 'AccessExclusiveLock' and not granted")).length > 0, { what: 'the lock is waited for' });
        await writer.query('commit');
        await locked;
        let acknowledged = false;
        const caught = c.caughtUp().then(() => (acknowledged = true));
        await eventually(async () => (await waited()) === 3, { what: 'the row waits' });
        await w.q("insert into plain values ('meanwhile', 'y')"); // the stream goes on
        await sleep(1000);
        assert.equal(acknowledged, false);
        await holder.query('rollback');
        await caught;
        await c.equals('docs', SQL('docs'));
      } finally {
        for (const client of [writer, holder]) client.release(true);
      }
      await same();
    });

    test('a column of a table with replica identity full changes its length: rows that change are written, and no others', async () => {
      const count = async () => (await db.q("select count(*)::int as n from powersync.bucket_data where table_name = 'plain'"))[0].n;
      const n = await count();
      await w.q('alter table plain alter body type varchar(10) using left(body, 10)');
      await w.q("insert into plain values ('later', 'y')");
      await eventually(async () => (await same(), true), { what: 'the rows are read again' });
      assert.equal(await count(), n + 41);
    });

    test('a new column of a table with replica identity full reaches old rows', async () => {
      await w.q("alter table plain add column extra text default 'new'");
      await w.q("insert into plain values ('latest', 'y', 'z')");
      await same();
    });
  });
