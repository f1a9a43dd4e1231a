// A node of the role api while its connections to the storage database are cut again and again, and while another process compacts. CUT_SECONDS
// makes the first longer: 120 for two minutes, a cut every 10 s.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { Fold, Stream } from '../lib/stream.mjs';
import { sign } from '../lib/token.mjs';
import { eventually, sleep } from '../lib/util.mjs';

const dump = fileURLToPath(new URL('../data/vectors/storage-postgres-dumps/legacy/storage.sql', import.meta.url));
const BUCKET = '1#orgs["o1"]';
const SECONDS = Number(process.env.CUT_SECONDS ?? 5);
const BEHIND_MS = 5000;

let db, api;
const token = sign('u1', { claims: { roles: ['x'], org: 'o1' } });

// What a process that replicates does: each row of the bucket is written once more, at most `rows` of them, and a checkpoint shows it.
async function write(rows, notify) {
  const [{ op }] = await db.q(
    `with written as (insert into powersync.bucket_data
       select group_id, bucket_name, nextval('powersync.op_id_sequence'), op, source_table, source_key, table_name, row_id, checksum, data from
         (select distinct on (row_id) * from powersync.bucket_data where bucket_name = $1 and op = 'PUT' order by row_id, op_id desc limit $2) x returning op_id)
     update powersync.sync_rules set last_checkpoint = (select max(op_id) from written) where state = 'ACTIVE' returning last_checkpoint as op`,
    [BUCKET, rows]
  );
  if (notify) await db.q("select pg_notify('powersynccheckpoints', '{}')");
  return Number(op);
}

before(async () => {
  db = await StorageDatabase.create('faults', { dump });
  api = new Service({ dir: temporaryFolder('faults'), sourceUri: db.uri, sync: '', config: { storage: db.config }, env: { PS_RUNNER_TYPE: 'api' } });
  await api.start();
  await api.ready();
});
after(async () => {
  await api?.stop();
  await db?.destroy();
});

describe('all connections of a node are cut again and again', () => {
  test('it is never more than 5 s behind, and never shows a lower checkpoint', async () => {
    const written = []; // { op, at } that no line has shown yet
    const end = Date.now() + SECONDS * 1000;
    let shown = 0, running = true, failure, stream, last = 0, cuts = 0;
    const onLine = (l) => {
      const op = Number((l.checkpoint ?? l.checkpoint_diff)?.last_op_id ?? NaN);
      if (Number.isNaN(op)) return;
      if (op < shown) failure ??= new Error(`checkpoint ${op} after ${shown}`);
      shown = Math.max(shown, op);
      while (written.length && written[0].op <= shown) written.shift();
    };
    const follow = (async () => {
      while (running) {
        try {
          stream = await Stream.open(api.url, { token, body: { buckets: [{ name: BUCKET, after: String(shown) }] }, onLine });
          if (running) await stream.untilEnd(SECONDS * 1000 + 20000);
        } catch {
          await sleep(50); // refused while the database is away: a client tries again
        }
      }
    })();
    await eventually(() => shown > 0);
    let next = 0;
    for (let i = 0; Date.now() < end; i++) {
      last = await write(1, i % 3 > 0);
      written.push({ op: last, at: Date.now() });
      if (Date.now() >= next) {
        await db.q("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'syncline-storage%'");
        next = Date.now() + (SECONDS > 30 ? 10000 : 1000);
        cuts++;
      }
      if (written.length && Date.now() - written[0].at > BEHIND_MS) failure ??= new Error(`${Date.now() - written[0].at} ms behind`);
      if (failure) break;
      await sleep(100);
    }
    if (!failure) await eventually(() => shown >= last, { timeout: BEHIND_MS, what: `checkpoint ${last}` });
    running = false;
    stream?.close();
    await follow;
    assert.ifError(failure);
    assert.ok(cuts >= 3);
  });
});

describe('the connection of a node that starts is cut', () => {
  test('it starts all the same, on another one', async () => {
    const holder = await db.pool.connect();
    const node = new Service({ dir: temporaryFolder('faults-start'), sourceUri: db.uri, sync: '', config: { storage: db.config }, env: { PS_RUNNER_TYPE: 'api' } });
    const old = (await db.q("select pid from pg_stat_activity where datname = current_database() and application_name like 'syncline-storage%'")).map((r) => r.pid);
    try {
      await holder.query('begin');
      await holder.query('lock table powersync.sync_rules in access exclusive mode'); // the start waits here
      const started = node.start();
      started.catch(() => {}); // awaited below
      let cut = [];
      await eventually(async () => {
        cut = await db.q(
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()
             and application_name like 'syncline-storage%' and wait_event_type = 'Lock' and not pid = any($1)
             and backend_start > (select xact_start from pg_stat_activity where pid = $2)`,
          [old, holder.processID]
        );
        return cut.length > 0;
      });
      await holder.query('rollback');
      await started;
      await node.ready();
    } finally {
      await holder.query('rollback');
      holder.release();
      await node.stop();
    }
  });
});

describe('a process was killed while it held the lock of the migrations', () => {
  test('where nothing is to be migrated a start does not wait for it', async () => {
    await db.q("insert into powersync.locks values ('migrations', gen_random_uuid(), now())");
    const node = new Service({ dir: temporaryFolder('faults-lock'), sourceUri: db.uri, sync: '', config: { storage: db.config }, env: { PS_RUNNER_TYPE: 'api' } });
    try {
      await node.start();
      await node.ready();
      assert.equal((await db.q("select 1 from powersync.locks where name = 'migrations'")).length, 1, 'the lock is as it was');
    } finally {
      await node.stop();
      await db.q("delete from powersync.locks where name = 'migrations'");
    }
  });
});

describe('another process compacts', () => {
  // All operations but the newest of each row become one CLEAR, as after a MOVE for each of them.
  const compact = async () => {
    await db.q(
      `with rows as (select op_id, checksum, row_id, max(op_id) over (partition by row_id) as newest, min(op_id) over () as first from powersync.bucket_data where bucket_name = $1),
         run as (select op_id, checksum, newest from rows where op_id < (select min(newest) from rows where row_id is not null)),
         gone as (delete from powersync.bucket_data b using run where b.bucket_name = $1 and b.op_id = run.op_id and b.op_id < (select max(op_id) from run) returning 1)
       update powersync.bucket_data b set op = 'CLEAR', source_table = null, source_key = null, table_name = null, row_id = null, data = null,
         checksum = (select ((sum(checksum) % 4294967296 + 4294967296) % 4294967296) from run), target_op = (select max(newest) from run) + (select 0 * count(*) from gone)
       where b.bucket_name = $1 and b.op_id = (select max(op_id) from run)`,
      [BUCKET]
    );
    const ops = await db.q('select op, op_id from powersync.bucket_data where bucket_name = $1 order by op_id', [BUCKET]);
    assert.deepEqual(ops.filter((o) => o.op === 'CLEAR'), ops.slice(0, 1), 'the leading run is one CLEAR');
    return Number(ops[0].op_id);
  };

  test('what a node keeps of a bucket never makes a wrong line', async () => {
    const open = async (positions, fold) => {
      const s = await Stream.open(api.url, { token, body: { buckets: positions }, onLine: (l) => fold.add(l) });
      await s.waitFor((l) => l.checkpoint_complete);
      return s;
    };
    await write(100, true);
    const old = new Fold();
    const follower = await open([], old); // fills what the node keeps
    const from = await write(100, true);
    await follower.waitFor((l) => l.checkpoint_diff?.last_op_id === String(from));
    await follower.waitFor((l) => l.checkpoint_complete);
    const cut = old.positions();
    const cutState = structuredClone(old);
    assert.ok((await compact()) > 0);
    for (let round = 0; round < 3; round++) {
      const fresh = new Fold();
      const s = await open([], fresh); // folds check every sum
      s.close();
      const op = await write(3, true);
      await follower.waitFor((l) => l.checkpoint_diff?.last_op_id === String(op));
      await follower.waitFor((l) => l.checkpoint_complete);
      await compact();
    }
    follower.close();
    assert.ifError(follower.failure);
    // A client that was away since before the first compaction.
    const late = Object.assign(new Fold(), cutState, { announced: new Map() });
    (await open(cut, late)).close();
    assert.deepEqual(late.buckets.get(BUCKET).rows, old.buckets.get(BUCKET).rows);
    assert.equal(late.buckets.get(BUCKET).sum, old.buckets.get(BUCKET).sum);
  });
});
