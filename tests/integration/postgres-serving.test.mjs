// Nodes of the role api on a storage database: what a reference has stored is served as it served it, and a checkpoint request through one node is
// acknowledged on the streams of all. There is no process that replicates: the tests make its commits in the database.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { request, Stream } from '../lib/stream.mjs';
import { sign } from '../lib/token.mjs';
import { eventually } from '../lib/util.mjs';

const dumps = fileURLToPath(new URL('../data/vectors/storage-postgres-dumps', import.meta.url));
const CLAIMS = { u1: { roles: ['x'], org: 'o1' }, u2: { roles: [], org: 'o2' } };

async function node(db, name) {
  const s = new Service({ dir: temporaryFolder(name), sourceUri: db.uri, sync: '', config: { storage: db.config }, env: { PS_RUNNER_TYPE: 'api' } });
  await s.start();
  await s.ready();
  return s;
}

// Sums are modulo 2^32: the reference prints those of CLEARs as signed numbers.
const unsigned = (op) => ({ ...op, checksum: op.checksum >>> 0 });

/** What a stream brought up to its first complete checkpoint, in an order of its own. */
function picture(lines) {
  const { checkpoint } = lines[0];
  const ops = {};
  for (const { data } of lines) if (data) (ops[data.bucket] ??= []).push(...data.data.map(unsigned));
  return {
    last_op_id: checkpoint.last_op_id,
    write_checkpoint: checkpoint.write_checkpoint,
    buckets: checkpoint.buckets.map((b) => ({ ...b })).sort((a, b) => (a.bucket < b.bucket ? -1 : 1)),
    streams: checkpoint.streams,
    ops
  };
}

for (const kind of ['legacy', 'streams'])
  describe(`a database of the reference (${kind})`, async () => {
    let db, api;
    before(async () => {
      db = await StorageDatabase.create(`serving_${kind}`, { dump: path.join(dumps, kind, 'storage.sql') });
      api = await node(db, 'serving');
    });
    after(async () => {
      await api?.stop();
      await db?.destroy();
    });

    for (const user of ['u1', 'u2'])
      for (const client of ['c1', 'c9', 'legacy'])
        test(`${user}/${client} gets what the reference sent`, async () => {
          const recorded = fs.readFileSync(path.join(dumps, kind, `stream.${user}.${client}.ndjson`), 'utf8').trim().split('\n').map((l) => JSON.parse(l));
          const lines = [];
          const s = await Stream.open(api.url, { token: sign(user, { claims: CLAIMS[user] }), body: { client_id: client, buckets: [] }, onLine: (l) => lines.push(l) });
          await s.waitFor((l) => l.checkpoint_complete);
          s.close();
          assert.deepEqual(picture(lines.filter((l) => l.checkpoint || l.data)), picture(recorded.filter((l) => l.checkpoint || l.data)));
        });
  });

describe('two nodes', async () => {
  let db, a, b;
  const token = sign('u1', { claims: CLAIMS.u1 });
  const post = (n, client, id) =>
    request(n.url, 'POST', '/sync/checkpoint-request', { token, body: { client_id: client, checkpoint_request_id: String(id) } });
  const open = (n, client) => Stream.open(n.url, { token, body: { client_id: client, buckets: [] } });
  const acknowledged = (s, id) =>
    s.waitFor((l) => (l.checkpoint ?? l.checkpoint_diff)?.write_checkpoint === String(id)).then(() => s.waitFor((l) => l.checkpoint_complete));
  // As a process that replicates: everything that the source has written by now is in the store.
  const commit = async (notify = true) => {
    await db.q(
      `update powersync.sync_rules set last_checkpoint_lsn = (select upper(lpad(split_part(l, '/', 1), 8, '0') || '/' || lpad(split_part(l, '/', 2), 8, '0'))
       from (select pg_current_wal_insert_lsn()::text as l) x), last_checkpoint_ts = now() where state = 'ACTIVE'`
    );
    if (notify) await db.q("select pg_notify('powersynccheckpoints', '{}')");
  };
  const cut = () =>
    db.q("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name like 'syncline-storage%'");

  before(async () => {
    db = await StorageDatabase.create('nodes', { dump: path.join(dumps, 'legacy/storage.sql') });
    // The source is another one here, and at a smaller position.
    await db.q("update powersync.sync_rules set last_checkpoint_lsn = '00000000/00000001'");
    await db.q(`update powersync.write_checkpoints set lsns = '{"1": "00000000/00000001"}'`);
    a = await node(db, 'node_a');
    b = await node(db, 'node_b');
    await commit();
  });
  after(async () => {
    await a?.stop();
    await b?.stop();
    await db?.destroy();
  });

  test('a request through one is acknowledged on streams of both, not before its head is passed', async () => {
    const streams = await Promise.all([open(a, 'n1'), open(b, 'n1'), open(b, 'other')]);
    await Promise.all(streams.map((s) => s.waitFor((l) => l.checkpoint_complete)));
    assert.equal((await post(a, 'n1', 7)).json.data.checkpoint_request_id, '7');
    await post(b, 'n1', 8);
    for (const s of streams) assert.deepEqual(s.lines.filter((l) => l.checkpoint_diff), []);
    await commit();
    await Promise.all([acknowledged(streams[0], 8), acknowledged(streams[1], 8)]);
    assert.ok(!streams[2].lines.some((l) => l.checkpoint_diff), 'nobody else is told');
    for (const s of streams) s.close();
    const again = await open(b, 'n1');
    assert.equal((await again.waitFor((l) => l.checkpoint)).checkpoint.write_checkpoint, '8');
    again.close();
  });

  test('with the connections of all nodes cut while it is stored and passed', async () => {
    const s = await open(b, 'n2');
    await s.waitFor((l) => l.checkpoint_complete);
    await cut();
    await eventually(async () => (await post(a, 'n2', 3)).status === 200);
    await cut();
    await commit(false);
    await acknowledged(s, 3);
    s.close();
  });

  test('a legacy request and the answer of the service', async () => {
    const r = await request(a.url, 'GET', '/write-checkpoint2.json?client_id=legacy', { token });
    const id = r.json.data.write_checkpoint;
    assert.equal(id, '2', 'goes on from what the reference gave');
    const s = await open(b, 'legacy');
    await commit();
    await acknowledged(s, id);
    s.close();
  });

  test('new operations reach streams of both', async () => {
    const streams = await Promise.all([open(a, 'd'), open(b, 'd')]);
    await Promise.all(streams.map((s) => s.waitFor((l) => l.checkpoint_complete)));
    await db.q(`insert into powersync.bucket_data select group_id, bucket_name, nextval('powersync.op_id_sequence'), op, source_table, source_key, table_name, row_id, checksum, data
      from powersync.bucket_data where bucket_name like '%orgs["o1"]' and op = 'PUT' limit 1`);
    await db.q("update powersync.sync_rules set last_checkpoint = (select last_value from powersync.op_id_sequence) where state = 'ACTIVE'");
    await commit();
    for (const s of streams) {
      await s.waitFor((l) => l.checkpoint_diff?.updated_buckets.length);
      assert.equal((await s.waitFor((l) => l.data)).data.n, 1);
      s.close();
    }
  });

  test('a changed lookup brings a bucket to the streams that it concerns', async () => {
    const mine = await open(b, 'l');
    const other = await Stream.open(b.url, { token: sign('u2', { claims: CLAIMS.u2 }), body: { client_id: 'l', buckets: [] } });
    await Promise.all([mine, other].map((s) => s.waitFor((l) => l.checkpoint_complete)));
    await db.q(`insert into powersync.bucket_parameters select nextval('powersync.op_id_sequence'), group_id, source_table, '\\x01', lookup,
      replace(bucket_parameters, '000000000005', '000000000001') from powersync.bucket_parameters where bucket_parameters like '%000000000005%' limit 1`);
    await db.q("update powersync.sync_rules set last_checkpoint = (select last_value from powersync.op_id_sequence) where state = 'ACTIVE'");
    await commit();
    const { checkpoint_diff: diff } = await mine.waitFor((l) => l.checkpoint_diff);
    assert.deepEqual(diff.updated_buckets.map((x) => x.bucket), ['1#by_list["00000000-0000-4000-8000-000000000001"]']);
    await mine.waitFor((l) => l.checkpoint_complete);
    assert.ok(!other.lines.some((l) => l.checkpoint_diff));
    mine.close();
    other.close();
  });
});

// The reference sends every operation of such a bucket twice.
describe('a bucket that a constant and a table both lead to', async () => {
  let db, api;
  before(async () => {
    db = await StorageDatabase.create('twice', { dump: path.join(dumps, 'legacy/storage.sql') });
    await db.q("update powersync.sync_rules set content = replace(content, 'bucket_definitions:', $1)", [
      `bucket_definitions:\n  twice:\n    parameters:\n      - SELECT 'o1' AS org\n      - SELECT request.jwt() ->> 'org' AS org\n      - SELECT id AS org FROM lists WHERE owner_id = request.user_id()\n    data:\n      - SELECT id, name, owner_id, org FROM lists WHERE org = bucket.org`
    ]);
    const [{ lookup, source_table }] = await db.q("select lookup, source_table from powersync.bucket_parameters where bucket_parameters like '%000000000005%' limit 1");
    // The lookup of the third query of the new definition: the names and numbers in front of the value differ.
    const value = lookup.subarray(lookup.lastIndexOf(Buffer.from('023200', 'hex')));
    const inner = Buffer.concat([Buffer.from('02300006000000', 'hex'), Buffer.from('twice\0'), Buffer.from('023100020000003300', 'hex'), value.subarray(0, value.length - 1)]);
    const array = Buffer.concat([Buffer.alloc(4), inner]);
    array.writeInt32LE(array.length);
    const document = Buffer.concat([Buffer.alloc(4), Buffer.from('046c00', 'hex'), array, Buffer.from([0])]);
    document.writeInt32LE(document.length);
    await db.q("insert into powersync.bucket_parameters values (nextval('powersync.op_id_sequence'), 1, $1, '\\x01', $2, $3)", [source_table, document, '[{"org":"o1"},{"org":"zz"}]']);
    await db.q(`insert into powersync.bucket_data select group_id, '1#twice["o1"]', op_id, op, source_table, source_key, table_name, row_id, checksum, data, target_op
      from powersync.bucket_data where bucket_name = '1#orgs["o1"]'`);
    await db.q("update powersync.sync_rules set last_checkpoint = (select last_value from powersync.op_id_sequence)");
    api = await node(db, 'twice');
  });
  after(async () => {
    await api?.stop();
    await db?.destroy();
  });

  test('is sent once', async () => {
    const lines = [];
    const s = await Stream.open(api.url, { token: sign('u1', { claims: CLAIMS.u1 }), body: { buckets: [] }, onLine: (l) => lines.push(l) });
    await s.waitFor((l) => l.checkpoint_complete);
    s.close();
    const { buckets, ops } = picture(lines.filter((l) => l.checkpoint || l.data));
    assert.deepEqual(buckets.map((b) => b.bucket).filter((b) => b.includes('twice')), ['1#twice["o1"]', '1#twice["zz"]']);
    const ids = ops['1#twice["o1"]'].map((o) => o.op_id);
    assert.equal(new Set(ids).size, ids.length);
    assert.deepEqual(ids, ops['1#orgs["o1"]'].map((o) => o.op_id));
  });
});
