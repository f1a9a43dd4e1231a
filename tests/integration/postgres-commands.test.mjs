// Commands on a storage database that the reference wrote: looking at checkpoint requests and at what a user gets, compaction.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';

const dumps = fileURLToPath(new URL('../data/vectors/storage-postgres-dumps', import.meta.url));

/** What a client holds in the end: the last PUT of each row, and the sum of all else; by bucket. */
function reduced(ops) {
  const buckets = {};
  for (const o of ops) {
    let b = (buckets[o.bucket_name] ??= { puts: {}, rest: 0n });
    const row = [o.table_name, o.row_id, o.source_table, o.source_key?.toString('hex')].join('|');
    if (o.op === 'CLEAR') b = buckets[o.bucket_name] = { puts: {}, rest: 0n };
    if (b.puts[row] && 'PUT REMOVE'.includes(o.op)) b.rest += b.puts[row].sum;
    delete b.puts[row];
    if (o.op === 'PUT') b.puts[row] = { id: o.op_id, sum: BigInt(o.checksum), data: o.data };
    else b.rest += BigInt(o.checksum);
    b.rest = BigInt.asUintN(32, b.rest);
  }
  return buckets;
}

describe('commands on a storage database of the reference', async () => {
  let db, s;
  const run = async (...words) => {
    const r = await syncline(words, { config: s.configPath });
    assert.equal(r.code, 0, r.out + r.err);
    return JSON.parse(r.out);
  };
  const ops = () => db.q('select * from powersync.bucket_data order by op_id');

  before(async () => {
    db = await StorageDatabase.create('commands', { dump: path.join(dumps, 'legacy/storage.sql') });
    s = new Service({ dir: temporaryFolder('commands'), sourceUri: db.uri, sync: '', config: { storage: db.config } });
    await s.writeConfig();
  });
  after(() => db?.destroy());

  test('before it was migrated they refuse it, and touch nothing', async () => {
    const before = await db.q("select tablename from pg_tables where schemaname = 'powersync' order by 1");
    for (const command of [['requests'], ['compact'], ['explain', '--user', 'u1']]) {
      const r = await syncline([...command, '--json'], { config: s.configPath });
      assert.equal(r.code, 1);
      assert.match(r.out + r.err, /migrate up/);
    }
    assert.deepEqual(await db.q("select tablename from pg_tables where schemaname = 'powersync' order by 1"), before);
    assert.equal((await syncline(['migrate', 'up'], { config: s.configPath })).code, 0);
  });

  test('requests: what the reference has stored of a user', async () => {
    const { clients } = await run('requests', '--user', 'u1', '--json');
    const ids = Object.fromEntries(clients.map((c) => [c.client_id, String(c.acknowledged_id ?? c.newest_id)]));
    assert.equal(ids.c1, '42');
    assert.equal(ids.legacy, '1');
    assert.equal((await run('requests', '--client', 'c9', '--json')).clients.length, 1);
    assert.deepEqual((await run('requests', '--json')).clients, []);
  });

  test('explain: the buckets of a user, as the operations are stored', async () => {
    const { user } = await run('explain', '--user', 'u1', '--json');
    const counts = await db.q('select bucket_name as name, count(*)::int as n from powersync.bucket_data group by 1');
    const stored = new Map(counts.map((r) => [r.name, r.n]));
    const held = user.buckets.filter((b) => b.operations);
    assert.ok(held.length > 0, JSON.stringify(user));
    for (const b of held) assert.equal(b.operations, stored.get(b.bucket), b.bucket);
  });

  test('compact: fewer operations, the same for clients, and again nothing', async () => {
    await db.q('insert into powersync.bucket_data select group_id, bucket_name, nextval(\'powersync.op_id_sequence\'), op, source_table, source_key, table_name, row_id, checksum, data, target_op from powersync.bucket_data where op = \'PUT\'');
    await db.q("update powersync.sync_rules set last_checkpoint = (select last_value from powersync.op_id_sequence) where state = 'ACTIVE'");
    const before = await ops();
    const done = await run('compact', '--json');
    assert.ok(done.moved > 0 && done.cleared > 0 && done.buckets > 0, JSON.stringify(done));
    const after = await ops();
    assert.ok(after.length < before.length);
    assert.deepEqual(reduced(after), reduced(before));
    const again = await run('compact', '--json');
    assert.equal(again.moved + again.cleared, 0);
    assert.deepEqual(await ops(), after);
  });

  test('compact: named buckets, and temporary requests that are old go', async () => {
    const [{ bucket_name: name }] = await db.q('select bucket_name from powersync.bucket_data limit 1');
    await db.q("update powersync.write_checkpoints set checkpoint_requested_at = now() - interval '3 hours' where user_id = 'u2/c9'");
    const done = await run('compact', '--json', '-b', `${name},9#none[]`);
    assert.equal(done.buckets, 1);
    assert.equal(done.unknown, 1);
    const kept = (await db.q('select user_id from powersync.write_checkpoints')).map((r) => r.user_id);
    assert.ok(!kept.includes('u2/c9') && kept.includes('u1/legacy'), kept.join());
  });
});
