// A database that the reference wrote, with the source that it replicated: Syncline goes on from its slot, and leaves its schema as it was.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { World } from '../lib/world.mjs';

const dumps = fileURLToPath(new URL('../data/vectors/storage-postgres-dumps', import.meta.url));

for (const kind of ['legacy', 'streams'])
  describe(`a database of the reference is continued (${kind})`, () => {
    let db, w, schema;
    const text = (name) => fs.readFileSync(path.join(dumps, kind, name), 'utf8');
    before(async () => {
      db = await StorageDatabase.create(`continued_${kind}`, { dump: path.join(dumps, kind, 'storage.sql') });
      schema = await db.schema();
      w = await World.create({
        name: `continued_${kind}`,
        schema: text('source.sql').replace(/create publication.*/, ''),
        sync: text('sync-config.yaml'),
        config: { storage: db.config }
      });
      // The source is a copy of the one that was replicated: its slot, its position, its tables' oids.
      const [{ slot_name: slot }] = await db.q('select slot_name from powersync.sync_rules');
      const [{ lsn }] = await w.q("select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')", [slot]);
      const padded = lsn.split('/').map((h) => h.padStart(8, '0')).join('/');
      await db.q('update powersync.sync_rules set last_checkpoint_lsn = $1, no_checkpoint_before = $1', [padded]);
      for (const r of await w.q("select relname, oid::int from pg_class where relname in ('lists', 'todos', 'members')"))
        await db.q("update powersync.source_tables set relation_id = jsonb_build_object('object_id', $2::int) where table_name = $1", [r.relname, r.oid]);
    });
    after(async () => {
      await w?.destroy();
      await db?.destroy();
    });

    test('nothing is read again; what changes has the next op ids, under the same slot and tables', async () => {
      const facts = () =>
        db.q(`select (select max(op_id)::int from powersync.bucket_data) as op, (select count(*)::int from powersync.bucket_data) as n,
          (select string_agg(id, ',' order by id) from powersync.source_tables) as tables, (select string_agg(slot_name || state, ',') from powersync.sync_rules) as streams`);
      const [was] = await facts();
      const [{ last }] = await db.q('select last_value::int as last from powersync.op_id_sequence');
      await w.service.start();
      await w.service.ready();
      const c = w.client({ user: 'u1' });
      await c.caughtUp();
      assert.deepEqual(await facts(), [was]);
      await w.q("update lists set name = 'renamed' where id = '00000000-0000-4000-8000-000000000001'");
      await c.caughtUp();
      const [is] = await facts();
      assert.ok(is.n > was.n);
      assert.equal(is.op, last + is.n - was.n);
      assert.equal(is.tables, was.tables);
      assert.equal(is.streams, was.streams);
      assert.deepEqual(await db.schema(), schema);
    });
  });
