// kill -9 at random instants while rows are written, clients sync and the store is compacted. After each restart the clients must hold what SQL selects; op ids
// never go back or come twice (the fold checks that); a snapshot that was under way goes on at its last chunk.
// KILL_ROUNDS and KILL_SEED choose another run: `make soak`.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { Random, eventually, sleep } from '../lib/util.mjs';
import { Writers, bodiesEqual, queries, schema, shapes, sync } from '../lib/writers.mjs';
import { Postgres, World } from '../lib/world.mjs';

const ROUNDS = Number(process.env.KILL_ROUNDS ?? 8);
const SEED = Number(process.env.KILL_SEED ?? 7);
const SNAPSHOT_KILLS = ROUNDS < 20 ? 2 : 4;
const FIXED = SNAPSHOT_KILLS === 2 ? 120000 : 200000; // every client of a round holds it in memory

/** `fixed` is large, and compared only where it matters: its checksums are checked at every checkpoint anyway. */
async function converged(world, client, { fixed = false } = {}) {
  await client.caughtUp(60000);
  for (const [table, sql] of Object.entries(queries)) if (fixed || table !== 'fixed') await client.equals(table, sql, shapes[table]);
  await bodiesEqual(world, client.fold);
}

describe(`kill -9, seed ${SEED}`, { timeout: 60000 + ROUNDS * 60000 }, () => {
  const random = new Random(SEED);
  let w, writers, resident;
  before(async () => {
    w = await World.create({ name: 'kill', schema: schema(8000, FIXED), sync });
    writers = new Writers(w.sourceUri, SEED);
    resident = w.client({ user: 'user1' });
  });
  after(async () => {
    await writers?.stop().catch(() => {});
    await w?.destroy();
  });

  /** Compacts again and again until `stop` is called, which waits for the last one; no checkpoint is spared. */
  const compacting = () => {
    let stopping = false;
    const c = { done: 0, cut: 0, gained: 0, rewritten: 0 };
    const loop = (async () => {
      while (!stopping) {
        const r = await syncline(['compact', '--json', '--margin', '0', ...(random.chance(0.5) ? ['--defragment'] : [])], { config: w.service.configPath });
        const answer = r.json;
        if (answer.ok && !answer.stopped) c.done++;
        else c.cut++; // the service was killed over it
        if (!answer.ok) assert.match(answer.error.message, /ended before it had answered/);
        c.rewritten += answer.rewritten ?? 0;
        c.gained += (answer.moved ?? 0) + (answer.cleared ?? 0) + (answer.lookups ?? 0);
        if (!stopping) await sleep(random.below(150));
      }
    })();
    c.stop = () => {
      stopping = true;
      return loop;
    };
    return c;
  };
  const compactions = { done: 0, cut: 0, gained: 0, rewritten: 0 };

  const rowsOfFixedRead = async () => {
    const [r] = await w.q(`select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as n from pg_stat_user_tables where relname = 'fixed'`);
    return Number(r.n);
  };

  test(`up to ${SNAPSHOT_KILLS} kills while the first snapshot runs: it goes on, and ends right`, async () => {
    const before = await rowsOfFixedRead();
    let kills = 0;
    writers.start();
    for (; kills < SNAPSHOT_KILLS && !w.service.log.includes('Activated'); kills++) {
      await w.service.start();
      // Every other time the table that nobody writes must be in the middle of its reading.
      const inTheMiddle = kills % 2 === 0;
      if (inTheMiddle) await eventually(() => /Replicating \S*fixed\S* \d/.test(w.service.freshLog), { every: 5, what: () => `a chunk of the table is in:\n${w.service.tail()}` });
      await sleep(random.below(inTheMiddle ? 150 : 900));
      await w.service.kill9();
    }
    assert.ok(kills >= 1);
    await w.service.start();
    await w.service.ready(60000);
    const read = (await rowsOfFixedRead()) - before;
    await writers.stop();
    await converged(w, resident, { fixed: true });
    const story = () => w.service.log.split('\n').filter((l) => /fixed|unified|Activated/.test(l)).join('\n');
    const resumed = [...w.service.log.matchAll(/Replicating \S*fixed\S* (\d+)\/\S* - resuming/g)].map((m) => Number(m[1]));
    assert.ok(resumed.every((n, i) => n > 0 && (i === 0 || n >= resumed[i - 1])), `the reading was resumed at ${resumed}:\n${story()}`);
    // One whole reading, what was under way at each kill (a few chunks of 10,000 rows), and for each start a scan that the planner may
    // prefer to the index while the table has no statistics.
    assert.ok(read <= FIXED * (2 + kills) + kills * 8 * 10000, `${read} rows of a table of ${FIXED} were read:\n${story()}`);
  });

  for (let round = 1; round <= ROUNDS - SNAPSHOT_KILLS; round++) {
    test(`round ${round}`, async () => {
      writers.start();
      const fresh = w.client({ user: `user${random.below(7)}` });
      const kills = random.chance(0.3) ? 3 : 1;
      for (let i = 0; i < kills; i++) {
        if (random.chance(0.7)) await fresh.connect().catch(() => {});
        const compaction = random.chance(0.7) ? compacting() : undefined;
        await sleep(random.below(900));
        await w.service.kill9();
        await compaction?.stop(); // one that found no service worked on the store itself: nobody else may until it is done
        for (const k of Object.keys(compactions)) compactions[k] += compaction?.[k] ?? 0;
        await w.service.start();
        if (random.chance(0.7)) {
          await w.service.ready();
          await resident.synced();
        }
      }
      await w.service.ready();
      const compaction = compacting();
      await sleep(random.below(400));
      await writers.stop();
      await compaction.stop();
      for (const k of Object.keys(compactions)) compactions[k] += compaction[k];
      await converged(w, resident);
      await converged(w, fresh);
      fresh.close();
      assert.equal((await w.slots()).length, 1);
    });
  }

  test('what the store holds is what a new client is given, and an orderly stop changes nothing', async () => {
    await w.service.stop();
    await w.service.start();
    await w.service.ready();
    const op = resident.fold.lastOp;
    await converged(w, resident);
    assert.equal(resident.fold.lastOp, op);
    const late = w.client({ user: 'user3' });
    await converged(w, late, { fixed: true });
    assert.ok(compactions.done > 0 && compactions.gained > 0, JSON.stringify(compactions));
    console.log(`# ${writers.transactions} transactions, ${w.service.starts} starts, ${compactions.done} compactions (${compactions.cut} cut, ${compactions.gained} operations gained, ${compactions.rewritten} rows written again), last op id ${op}`);
  });
});

describe('commits that are delivered before they are visible', { timeout: 120000 }, () => {
  // A synchronous standby that does not answer: a commit hangs after its record is in the WAL, so the stream delivers a row that
  // no snapshot sees yet. A chunk read meanwhile must not bring the old row back.
  const SYNC_BEFORE = 'bucket_definitions:\n  other:\n    data:\n      - SELECT * FROM other\n';
  const SYNC_AFTER = `${SYNC_BEFORE}  items:\n    data:\n      - SELECT * FROM items\n`;
  const SYNC_MORE = `${SYNC_AFTER}  more:\n    data:\n      - SELECT * FROM more\n`;
  let server, w;
  before(async () => {
    server = await Postgres.start();
    w = await World.started({
      name: 'standby',
      schema: `create table other(id text primary key, n int); insert into other values ('o', 0);
        create table items(id int primary key, n int, pad text);
        insert into items select i, 0, repeat('x', 300) from generate_series(1, 60000) i;
        create table more(id int primary key, n int, pad text);
        insert into more select i, 0, repeat('x', 300) from generate_series(1, 60000) i`,
      sync: SYNC_BEFORE,
      postgres: server
    });
  });
  after(async () => {
    await w?.destroy();
    await server?.stop();
  });
  const standby = async (names) => {
    await w.admin.query(`set synchronous_commit = local`);
    await w.admin.query(`alter system set synchronous_standby_names = '${names}'`);
    await w.admin.query('select pg_reload_conf()');
    await eventually(async () => (await w.q('show synchronous_standby_names'))[0].synchronous_standby_names === names, { what: 'the setting took effect' });
    if (names) await eventually(commitHangs, { what: 'commits hang' }); // the checkpointer, too, has to hear of it
  };
  const commitHangs = async () => {
    const probe = await w.pool.connect();
    const done = probe.query(`select pg_logical_emit_message(true, 'probe', '')`).then(() => false);
    const waits = async () => (await w.admin.query(`select from pg_stat_activity where pid = $1 and wait_event = 'SyncRep'`, [probe.processID])).rowCount > 0;
    const hangs = await Promise.race([done, eventually(waits, { every: 10 })]);
    if (hangs) await w.admin.query('select pg_cancel_backend($1)', [probe.processID]);
    await done;
    probe.release(true);
    return hangs;
  };

  /** A new client, once the table is served; equal to SQL. */
  const shown = async (table, compare = true) => {
    const c = w.client({ user: 'reader' });
    await eventually(
      async () => {
        await c.synced();
        await c.caughtUp();
        return c.fold.rows(table).size > 0;
      },
      { timeout: 60000, what: () => `${table} is served:\n${w.service.tail()}` }
    );
    if (compare) await c.equals(table, `select id::text, n, pad from ${table}`, (r) => JSON.stringify([String(r.id), r.n, r.pad]));
    return c;
  };

  test('rows updated by commits that hang since before the snapshot end up new, also after kill -9', async () => {
    const watcher = await w.client({ user: 'watcher' }).synced();
    await w.service.stop();
    await standby('nobody');
    const hanging = [];
    const hang = (id) => hanging.push(w.q('update items set n = 1 where id = $1', [id]));
    const random = new Random(SEED);
    try {
      hang(1);
      hang(59999);
      await eventually(async () => (await w.q(`select count(*) as n from pg_stat_activity where wait_event = 'SyncRep'`))[0].n >= 2, { what: 'two commits hang' });
      // They are delivered under a config that does not read the table, and what comes after them is acknowledged. But the position
      // that is confirmed to the source stays before them: after kill -9 it must send them again, or nobody would know any more
      // that a chunk cannot see them.
      await w.service.start();
      await w.service.ready();
      const local = await w.pool.connect();
      await local.query('set synchronous_commit = local');
      await local.query('update other set n = n + 1');
      local.release(true);
      await watcher.caughtUp();
      assert.equal(watcher.fold.rows('other').get('o').n, 1);
      await sleep(1500);
      await w.service.kill9();
      // Now the table is read while they, and more, hang.
      w.service.sync = SYNC_AFTER;
      await w.service.writeConfig();
      await w.service.start();
      await w.service.ready();
      for (let i = 0; i < 6; i++) {
        await sleep(random.below(250));
        hang(1 + random.below(60000));
      }
      await watcher.caughtUp(); // what is active goes on
      await sleep(1000);
      assert.ok((await w.q('select sum(n) as n from items'))[0].n === 0, 'the commits still hang');
    } finally {
      await standby('');
      await Promise.all(hanging);
    }
    await shown('items');
  });

  test('rows updated by commits that hang since the snapshot began are taken from the stream', async () => {
    await w.service.stop();
    await standby('nobody');
    const hanging = [];
    const ids = [1, 2, 30000, 59999, 60000];
    const random = new Random(SEED + 1);
    for (let i = 0; i < 4; i++) ids.push(3 + random.below(59000));
    w.service.sync = SYNC_MORE;
    await w.service.writeConfig();
    await w.service.start();
    try {
      await eventually(() => /To replicate: \S*more/.test(w.service.freshLog), { every: 1, what: () => `the table is begun:\n${w.service.tail()}` });
      for (const id of ids) {
        hanging.push(w.q('update more set n = 1 where id = $1', [id]));
        await sleep(random.below(40));
      }
      const c = await shown('more', false);
      assert.equal(Number((await w.q('select sum(n) as n from more'))[0].n), 0, 'the commits still hang');
      await c.caughtUp();
      for (const id of ids) assert.equal(c.fold.rows('more').get(String(id)).n, 1, `row ${id}`);
    } finally {
      await standby('');
      await Promise.all(hanging);
    }
    await shown('more');
  });

  test('what is sent again after kill -9, because no snapshot sees it yet, is not applied twice', async () => {
    const c = await w.client({ user: 'again' }).synced();
    await c.caughtUp();
    await standby('nobody');
    const hanging = [];
    const hang = async (i) => {
      hanging.push(w.q(`insert into other values ('again${i}', ${i})`));
      await eventually(() => c.fold.rows('other').has(`again${i}`), { what: () => `again${i} is delivered` });
    };
    try {
      await hang(0);
      const [{ lsn }] = await w.q('select pg_current_wal_insert_lsn() as lsn');
      for (let i = 1; i < 4; i++) await hang(i);
      await c.caughtUp();
      const op = c.fold.lastOp;
      for (let kills = 0; kills < 3; kills++) {
        // A position is reported once a second.
        const [{ now }] = await w.q('select clock_timestamp() as now');
        await eventually(async () => (await w.q('select max(reply_time) > $1 as later from pg_stat_replication', [now]))[0].later, { what: 'a position is confirmed' });
        await w.service.kill9();
        const [{ kept }] = await w.q(`select bool_and(confirmed_flush_lsn <= $1) as kept from pg_replication_slots where database = current_database()`, [lsn]);
        assert.ok(kept, 'the source sends all but the first again');
        await w.service.start();
        await w.service.ready();
        await c.caughtUp();
        assert.equal(c.fold.lastOp, op);
        const late = await w.client({ user: `late${kills}` }).synced();
        assert.equal(late.fold.lastOp, op);
        late.close();
      }
      assert.equal((await w.q('select count(*)::int as n from other'))[0].n, 1, 'the commits still hang');
    } finally {
      await standby('');
      await Promise.all(hanging);
    }
    await c.caughtUp();
    await c.equals('other', 'select * from other');
  });
});
