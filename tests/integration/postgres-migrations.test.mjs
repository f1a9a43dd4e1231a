// `syncline migrate` on a storage database: what it makes is what the reference makes, and what it does not know it leaves alone.
import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';

const dumps = fileURLToPath(new URL('../data/vectors/storage-postgres-dumps', import.meta.url));
const NAMES = [
  '1684951997326-init',
  '1749024804042-snapshot-progress',
  '1756282360128-connection-reporting',
  '1771232439485-storage-version',
  '1771424826685-current-data-pending-deletes',
  '1771491856000-sync-plan',
  '1782950400000-checkpoint-requested-at',
  '1784900000000-source-metadata'
];

async function withDatabase(name, options, fn) {
  const db = await StorageDatabase.create(name, options);
  try {
    const s = new Service({ dir: temporaryFolder(name), sourceUri: db.uri, sync: '', config: { storage: db.config } });
    await s.writeConfig();
    await fn(db, (direction) => syncline(['migrate', direction], { config: s.configPath }));
  } finally {
    await db.destroy();
  }
}

const log = async (db) => (await db.q('select last_run, log from powersync.migrations'))[0];

describe('migrations of a storage database', async () => {
  test('from nothing: the schema and the log of the reference, and a second run does nothing', () =>
    withDatabase('migrate_up', {}, async (db, migrate) => {
      const reference = await StorageDatabase.create('reference', { dump: path.join(dumps, 'streams/storage.sql') });
      try {
        assert.equal((await migrate('up')).code, 0);
        assert.deepEqual(await db.schema(), await reference.schema());
        const { last_run, log: entries } = await log(db);
        assert.equal(last_run, NAMES.at(-1));
        assert.deepEqual(entries.map((e) => [e.name, e.direction]), NAMES.map((n) => [n, 'up']));
        for (const e of entries) assert.match(e.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        assert.equal((await migrate('up')).code, 0);
        assert.equal((await log(db)).log.length, NAMES.length);
        assert.deepEqual(await db.q('select * from powersync.locks'), []);
      } finally {
        await reference.destroy();
      }
    }));

  test('of a store that the reference wrote: nothing changes', () =>
    withDatabase('migrate_same', { dump: path.join(dumps, 'legacy/storage.sql') }, async (db, migrate) => {
      const before = [await db.schema(), await log(db), await db.q('select * from powersync.sync_rules')];
      assert.equal((await migrate('up')).code, 0);
      assert.deepEqual([await db.schema(), await log(db), await db.q('select * from powersync.sync_rules')], before);
    }));

  test('down takes everything away, up brings it back', () =>
    withDatabase('migrate_down', {}, async (db, migrate) => {
      await migrate('up');
      const before = await db.schema();
      const r = await migrate('down');
      assert.equal(r.code, 0, r.out + r.err);
      assert.deepEqual((await db.q("select tablename from pg_tables where schemaname = 'powersync'")).map((t) => t.tablename), ['locks']);
      assert.equal((await migrate('up')).code, 0);
      assert.deepEqual(await db.schema(), before);
    }));

  test('tables of its own come with up and go with down', () =>
    withDatabase('migrate_side', { dump: path.join(dumps, 'legacy/storage.sql') }, async (db, migrate) => {
      const own = async () => (await db.q("select tablename from pg_tables where schemaname = 'powersync' and tablename like 'syncline%'")).length;
      const instances = () => db.q('select * from powersync.instance');
      const before = await instances();
      assert.equal((await migrate('up')).code, 0);
      assert.ok((await own()) > 3);
      assert.deepEqual(await instances(), before);
      await migrate('down');
      assert.equal(await own(), 0);
    }));

  test('tables that were left beside a store that is no more are emptied; those of a newer program are refused', () =>
    withDatabase('migrate_left', {}, async (db, migrate) => {
      await migrate('up');
      await db.q("insert into powersync.syncline_request_floors values ('x', 7)");
      assert.equal((await migrate('up')).code, 0);
      assert.equal((await db.q('select * from powersync.syncline_request_floors')).length, 1);
      await db.q("update powersync.instance set id = 'another'");
      assert.equal((await migrate('up')).code, 0);
      assert.equal((await db.q('select * from powersync.syncline_request_floors')).length, 0);
      await db.q("update powersync.syncline_state set value = '99' where name = 'version'");
      const r = await migrate('up');
      assert.equal(r.code, 1);
      assert.match(r.out + r.err, /newer version \(99\)/);
    }));

  test('down stops where a stream has a storage version, and up goes on from there; write checkpoints keep ids and heads', () =>
    withDatabase('migrate_part', { dump: path.join(dumps, 'streams/storage.sql') }, async (db, migrate) => {
      const before = await db.schema();
      const ids = () => db.q('select user_id, lsns, write_checkpoint from powersync.write_checkpoints order by 1');
      const kept = await ids();
      const r = await migrate('down');
      assert.equal(r.code, 1);
      assert.match(r.out + r.err, /replication stream 1 has storage version 2/);
      assert.equal((await log(db)).last_run, NAMES[4]);
      assert.deepEqual(await ids(), kept);
      assert.equal((await migrate('up')).code, 0);
      assert.deepEqual(await db.schema(), before);
      assert.deepEqual(await ids(), kept);
      assert.equal((await db.q('select checkpoint_requested_at from powersync.write_checkpoints where checkpoint_requested_at is not null')).length, 0);
    }));

  test('a migration that is not known is refused, and nothing is touched', () =>
    withDatabase('migrate_unknown', {}, async (db, migrate) => {
      await migrate('up');
      await db.q("update powersync.migrations set last_run = '1999999999999-from-the-future'");
      const before = [await db.schema(), await log(db)];
      for (const direction of ['up', 'down']) {
        const r = await migrate(direction);
        assert.equal(r.code, 1);
        assert.match(r.out + r.err, /1999999999999-from-the-future was not found/);
      }
      assert.deepEqual([await db.schema(), await log(db)], before);
      assert.deepEqual(await db.q('select * from powersync.locks'), []);
    }));

  test('four processes at once: each succeeds, each migration ran once', () =>
    withDatabase('migrate_race', {}, async (db, migrate) => {
      const results = await Promise.all([1, 2, 3, 4].map(() => migrate('up')));
      for (const r of results) assert.equal(r.code, 0, r.out + r.err);
      assert.deepEqual((await log(db)).log.map((e) => e.name), NAMES);
    }));

  test('a lock that its owner left behind is waited for, and taken over when it is 60 s old', () =>
    withDatabase('migrate_lock', {}, async (db, migrate) => {
      await migrate('up');
      await db.q("insert into powersync.locks values ('migrations', gen_random_uuid(), now() - interval '58 seconds')");
      const r = await migrate('up');
      assert.equal(r.code, 0);
      assert.match(r.out + r.err, /Waiting for the lock "migrations"/);
      assert.deepEqual(await db.q('select * from powersync.locks'), []);
    }));
});
