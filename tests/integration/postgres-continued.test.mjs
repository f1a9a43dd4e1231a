// A database that the reference wrote, with the source that it replicated, for each storage version: Syncline goes on from its slot, and leaves its
// schema as it was. Every test ends in "clients equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { referenceStore } from '../lib/reference-store.mjs';
import { eventually } from '../lib/util.mjs';

const id = (i, kind = 0) => `${kind}0000000-0000-4000-8000-${String(i).padStart(12, '0')}`;
const MINE = "(select list_id from members where user_id = 'u1')";
const QUERIES = {
  legacy: { lists: `select id, name from lists where id in ${MINE}`, todos: `select id, list_id, description, done from todos where list_id in ${MINE}`, members: 'select id, user_id from members' },
  streams: { lists: "select id, name from lists where owner_id = 'u1'", todos: `select id, list_id, description, done from todos where list_id in ${MINE}` }
};
const shape = (r) => JSON.stringify([String(r.id), r.name, r.list_id, r.description, r.done === undefined ? r.user_id : Number(r.done)]);
const FACTS = `select (select max(op_id)::int from powersync.bucket_data) as op, (select count(*)::int from powersync.bucket_data) as n,
  (select string_agg(id, ',' order by id) from powersync.source_tables) as tables, (select string_agg(slot_name || state || storage_version, ',') from powersync.sync_rules) as streams`;

for (const kind of ['legacy', 'streams'])
  for (const version of [1, 2, 3])
    describe(`a database of the reference is continued (${kind}, storage version ${version})`, () => {
      let db, w, text, schema, c;
      const images = version === 3 ? 'v3_current_data' : 'current_data';
      const same = async (client = c) => {
        await client.caughtUp();
        for (const [type, sql] of Object.entries(QUERIES[kind])) await client.equals(type, sql, shape);
      };
      before(async () => {
        ({ db, w, text } = await referenceStore(`continued_${kind}_${version}`, kind, version));
        schema = await db.schema();
        c = w.client({ user: 'u1' });
      });
      after(async () => {
        await w?.destroy();
        await db?.destroy();
      });

      test('nothing is read again; what changes has the next op ids, under the same slot and tables', async () => {
        const [was] = await db.q(FACTS);
        const [{ last }] = await db.q('select last_value::int as last from powersync.op_id_sequence');
        await w.service.start();
        await w.service.ready();
        await same();
        assert.deepEqual(await db.q(FACTS), [was]);
        await w.q('update lists set name = $1 where id = $2', ['renamed', id(1)]);
        await same();
        const [is] = await db.q(FACTS);
        assert.ok(is.n > was.n);
        assert.equal(is.op, last + is.n - was.n);
        assert.equal(is.tables, was.tables);
        assert.equal(is.streams, was.streams);
        assert.deepEqual(await db.schema(), schema);
      });

      test('rows come, change and go, and lists change hands', async () => {
        await w.q(`insert into lists values ($1, 'new', 'u1', 'o1')`, [id(99)]);
        await w.q(`insert into members values (99, $1, 'u1')`, [id(99)]);
        await w.q(`insert into todos select ('1' || substr(md5(i::text), 1, 7) || '-0000-4000-8000-000000000000')::uuid, $1, 'of ' || i, false from generate_series(1, 50) i`, [id(99)]);
        await same();
        await w.q(`update todos set done = not done; update members set user_id = case user_id when 'u1' then 'u2' else 'u1' end where id % 2 = 0`);
        await w.q(`delete from todos where description like '%7'; delete from members where id = 3`);
        await w.q(`update lists set id = $2 where id = $1`, [id(99), id(98)]).catch(() => w.q('delete from lists where id = $1', [id(99)])); // todos refer to it
        await same();
        const [{ n, markers }] = await db.q(`select count(*)::int as n, ${version === 3 ? 'count(pending_delete)::int' : '0'} as markers from powersync.${images}`);
        const [{ rows }] = await w.q('select ((select count(*) from lists) + (select count(*) from todos) + (select count(*) from members))::int as rows');
        assert.equal(n, rows, 'one image for each row');
        assert.equal(markers, 0, 'a checkpoint removes the markers that it passes');
      });

      test('a compaction and a restart', async () => {
        await w.service.stop();
        const r = await syncline(['compact'], { config: w.service.configPath });
        assert.equal(r.code, 0, r.err + r.out);
        await w.service.start();
        await w.service.ready();
        await same();
        await same(w.client({ user: 'u1' }));
      });

      test('another sync config takes its place; what is left has the schema of the reference', async () => {
        await w.service.stop();
        w.service.sync = text('sync-config.yaml').replace('SELECT id, name FROM lists', 'SELECT id, name, org FROM lists') + '\n';
        await w.service.writeConfig();
        await w.service.start();
        await w.service.ready();
        const states = async () => (await db.q('select state from powersync.sync_rules order by id')).map((s) => s.state).join();
        await eventually(async () => (await states()) === 'TERMINATED,ACTIVE', { timeout: 20000, what: () => `the old stream is removed:\n${w.service.tail()}` });
        await w.q(`update todos set description = description || '!'`);
        await same();
        for (const table of ['bucket_data', 'bucket_parameters', images, 'source_tables'])
          assert.equal((await db.q(`select count(*)::int as n from powersync.${table} where group_id = 1`))[0].n, 0, table);
        assert.deepEqual(await db.schema(), schema);
      });
    });

// The reference reads by the key: what lies up to its last key is stored. Another program's reading cannot be gone on with in several ranges; the table
// is read from the start, and rows that are stored as they are make no operations.
for (const [kind, version, keyless] of [['legacy', 1, false], ['streams', 2, false], ['streams', 3, false], ['legacy', 2, true]])
  describe(`a table that the reference has read by half (${kind}, storage version ${version}${keyless ? ', without a key' : ''})`, () => {
    let db, w, position;
    const images = version === 3 ? 'v3_current_data' : 'current_data';
    const table = keyless ? 'members' : 'todos';
    const stored = () => db.q(`select bucket_name, op_id from powersync.bucket_data where op = 'PUT' order by op_id`);
    before(async () => {
      ({ db, w, position } = await referenceStore(`half_${kind}_${version}`, kind, version));
      if (keyless) {
        await w.q('alter table members drop constraint members_pkey; alter table members replica identity nothing');
        await db.q("update powersync.source_tables set replica_id_columns = '[]' where table_name = 'members'");
      }
      const gone = await db.q(
        `delete from powersync.${images} using powersync.source_tables t where t.id = source_table and table_name = $1
           and source_key in (select source_key from powersync.${images} join powersync.source_tables t on t.id = source_table where table_name = $1 order by data offset 4) returning source_key`,
        [table]
      );
      assert.ok(gone.length > 1);
      for (const from of ['bucket_data', 'bucket_parameters']) await db.q(`delete from powersync.${from} where source_key = any($1)`, [gone.map((g) => g.source_key)]);
      await db.q(
        `update powersync.sync_rules set state = 'PROCESSING', snapshot_done = false, last_checkpoint = null, last_checkpoint_lsn = null, no_checkpoint_before = null, last_checkpoint_ts = null, snapshot_lsn = $1`,
        [position]
      );
      await db.q(`update powersync.source_tables set snapshot_done = false, snapshot_total_estimated_count = 60, snapshot_replicated_count = 4, snapshot_last_key = '\\x1100000012696400112700000000000000' where table_name = $1`, [table]);
    });
    after(async () => {
      await w?.destroy();
      await db?.destroy();
    });

    test(keyless ? 'its rows are removed first, so that none is there twice' : 'it is read from the start, and what is stored makes no operations', async () => {
      const was = await stored();
      await w.q("update lists set name = 'changed meanwhile' where id = $1", [id(1)]);
      await w.service.start();
      await w.service.ready();
      const c = w.client({ user: 'u1' });
      await c.caughtUp();
      for (const [type, sql] of Object.entries(QUERIES[kind])) await c.equals(type, sql, shape);
      const [{ n }] = await db.q(`select count(*)::int as n from powersync.${images} join powersync.source_tables t on t.id = source_table where table_name = $1`, [table]);
      assert.equal(n, (await w.q(`select count(*)::int as n from ${table}`))[0].n);
      const [record] = await db.q('select snapshot_done, snapshot_last_key, snapshot_replicated_count from powersync.source_tables where table_name = $1', [table]);
      assert.deepEqual(record, { snapshot_done: true, snapshot_last_key: null, snapshot_replicated_count: null });
      if (keyless) return;
      const twice = (upTo) =>
        db.q(
          `select bucket_name, row_id from powersync.bucket_data b join powersync.source_tables t on t.id = source_table
             where op = 'PUT' and t.table_name = $1 and op_id <= $2 group by 1, 2 having count(*) > 1 order by 1, 2`,
          [table, upTo]
        );
      assert.deepEqual(await twice(Number.MAX_SAFE_INTEGER), await twice(was.at(-1).op_id), 'nothing that was stored is written again');
    });
  });
