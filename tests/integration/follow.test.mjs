// Following the source: first sync, every kind of change, large transactions, restarts of either side, acknowledgements.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually, sleep } from '../lib/util.mjs';
import { Postgres, World } from '../lib/world.mjs';

const SCHEMA = `
  create table lists(id text primary key, name text, owner text, done boolean not null default false);
  create table todos(id text primary key, list_id text, title text);
  create table members(id text primary key, list_id text, user_id text);
  create table docs(id text primary key, body text, n int);
  alter table docs alter column body set storage external;
  insert into lists select 'l' || i, 'list ' || i, 'user' || (i % 5) from generate_series(1, 500) i;
  insert into todos select 't' || i, 'l' || (i % 500 + 1), 'todo ' || i from generate_series(1, 3000) i;
  insert into members select 'm' || i, 'l' || i, 'user' || (i % 5) from generate_series(1, 500) i;
  insert into docs select 'd' || i, repeat(md5(i::text), 200), 0 from generate_series(1, 20) i;`;
const SYNC = `bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT * FROM lists WHERE lists.owner = bucket.owner
  by_list:
    parameters: SELECT list_id FROM members WHERE members.user_id = request.user_id()
    data:
      - SELECT * FROM todos WHERE todos.list_id = bucket.list_id
  docs:
    data:
      - SELECT * FROM docs
`;
const LISTS = `select id, name, owner, done::int as done from lists where owner = 'user1'`;
const TODOS = `select * from todos where list_id in (select list_id from members where user_id = 'user1')`;

describe('following a source', () => {
  let w, c;
  before(async () => {
    w = await World.started({ name: 'follow', schema: SCHEMA, sync: SYNC });
    c = await w.client().synced();
  });
  after(() => w?.destroy());
  const same = async () => {
    await c.caughtUp();
    await c.equals('lists', LISTS);
    await c.equals('todos', TODOS);
    await c.equals('docs', 'select * from docs');
  };

  test('the first sync holds what SQL selects', same);

  test('insert, update, delete', async () => {
    await w.q(`insert into lists values ('new', 'fresh', 'user1')`);
    await w.q(`update lists set name = 'renamed', done = true where id in ('new', 'l1', 'l6')`);
    await w.q(`delete from lists where id = 'l11'`);
    await same();
  });

  test('a row that moves to another key, and keys that change places', async () => {
    await w.q(`update todos set id = 'moved' where id = 't5'`);
    await w.tx(async (t) => {
      await t.query(`update lists set id = 'tmp' where id = 'l16'`);
      await t.query(`update lists set id = 'l16' where id = 'l21'`);
      await t.query(`update lists set id = 'l21' where id = 'tmp'`);
    });
    await same();
  });

  test('rows move between buckets and users with a parameter', async () => {
    await w.q(`update members set user_id = 'user1' where user_id = 'user2'`);
    await same();
    await w.q(`delete from members where user_id = 'user1' and id > 'm3'`);
    await same();
    await w.q(`update lists set owner = 'user1' where owner = 'user3'`);
    await same();
  });

  test('a large column that an update leaves alone keeps its value', async () => {
    await w.q(`update docs set n = n + 1`);
    await same();
    await w.q(`update docs set body = body || 'x' where id = 'd3'`);
    await w.q(`update docs set id = 'd-moved' where id = 'd4'`);
    await same();
  });

  test('a transaction that rolled back, and a savepoint that did, leave nothing', async () => {
    await w.tx(async (t) => {
      await t.query(`insert into lists values ('kept', 'kept', 'user1')`);
      await t.query('savepoint s');
      await t.query(`insert into lists values ('lost', 'lost', 'user1')`);
      await t.query('rollback to s');
    });
    await w.tx(async (t) => {
      await t.query(`insert into lists values ('lost too', 'lost', 'user1')`);
      throw new Error('roll back');
    }).catch(() => {});
    await same();
    assert.ok(c.fold.rows('lists').has('kept'));
  });

  test('a two-phase transaction comes with its commit', async () => {
    const t = await w.pool.connect();
    try {
      await t.query('begin');
      await t.query(`insert into lists values ('two-phase', 'prepared', 'user1')`);
      await t.query(`prepare transaction 'follow'`);
    } finally {
      t.release();
    }
    await c.caughtUp();
    assert.ok(!c.fold.rows('lists').has('two-phase'));
    await w.q(`commit prepared 'follow'`);
    await same();
  });

  test('a transaction of 30,000 rows arrives as a whole', async () => {
    const seen = [];
    const watch = setInterval(() => seen.push([...c.fold.rows('docs').keys()].filter((k) => k.startsWith('big')).length), 5);
    const before = c.fold.completes;
    let partial = 0;
    const add = c.fold.complete.bind(c.fold);
    c.fold.complete = (l) => {
      add(l);
      const n = [...c.fold.rows('docs').keys()].filter((k) => k.startsWith('big')).length;
      if (n !== 0 && n !== 30000) partial++;
    };
    await w.q(`insert into docs select 'big' || i, md5(i::text), i from generate_series(1, 30000) i`);
    await c.caughtUp(60000);
    clearInterval(watch);
    delete c.fold.complete;
    assert.ok(c.fold.completes > before);
    assert.equal(partial, 0, 'no complete checkpoint shows a part of the transaction');
    await same();
  });

  test('TRUNCATE removes every row of the table', async () => {
    await w.q('truncate docs');
    await same();
    assert.equal(c.fold.rows('docs').size, 0);
    await w.q(`insert into docs values ('after', 'truncate', 1)`);
    await same();
  });

  test('a row of 1 MB', async () => {
    await w.q(`insert into docs select 'mb', string_agg(md5(i::text), ''), 1 from generate_series(1, 32768) i`);
    await same();
    assert.equal(c.fold.rows('docs').get('mb').body.length, 1048576);
  });

  test('a client that was away resumes with what changed', async () => {
    c.close();
    const ops = c.fold.ops;
    await w.q(`update lists set name = name || '!' where id in ('l1', 'l6')`);
    await same();
    assert.ok(c.fold.ops - ops <= 10, `${c.fold.ops - ops} operations came for two changes`);
  });

  test('an idle source acknowledges in milliseconds', async () => {
    await sleep(300);
    const times = [];
    for (let i = 0; i < 20; i++) times.push(await c.caughtUp(5000));
    times.sort((a, b) => a - b);
    assert.ok(times[10] < 100, `median ${times[10].toFixed(1)} ms`);
  });

  test('requests are answered by rule: a retry, a smaller one, one of the legacy route', async () => {
    const post = (id) => w.request('POST', '/sync/checkpoint-request', { user: 'ruler', body: { client_id: 'r', checkpoint_request_id: id } });
    assert.deepEqual((await post('5')).json, { data: { checkpoint_request_id: '5' } });
    assert.deepEqual((await post('5')).json, { data: { checkpoint_request_id: '5' } });
    assert.deepEqual((await post(3)).json, { data: { checkpoint_request_id: '5' } });
    const legacy = await w.request('GET', '/write-checkpoint2.json?client_id=r', { user: 'ruler' });
    assert.deepEqual(legacy.json, { data: { write_checkpoint: '6' } });
    assert.equal((await post('0')).status, 400);
    assert.equal((await post('x')).json.error.code, 'PSYNC_S2001');
  });

  test('the slot follows: the confirmed position passes what was written', async () => {
    const [{ lsn }] = await w.q('select pg_current_wal_insert_lsn() as lsn');
    await w.q(`update lists set name = 'slot' where id = 'l1'`);
    await eventually(async () => (await w.q('select 1 from pg_replication_slots where database = current_database() and active and confirmed_flush_lsn > $1', [lsn])).length === 1, {
      timeout: 20000,
      what: 'the slot moves'
    });
    assert.equal((await w.slots()).length, 1);
  });

  test('a restart goes on where it was: same slot, nothing read again, no new operations', async () => {
    await same();
    const op = c.fold.lastOp;
    const [slot] = await w.slots();
    await w.service.stop();
    await eventually(async () => (await w.slots())[0].active === false, { what: 'the server has noticed that the slot is free' });
    await w.q(`insert into lists values ('while down', 'down', 'user1')`);
    await w.service.start();
    await w.service.ready();
    const ops = c.fold.ops;
    await same();
    assert.equal((await w.slots())[0].slot_name, slot.slot_name);
    assert.ok(c.fold.ops - ops <= 3, `${c.fold.ops - ops} operations came for one row`);
    assert.ok(c.fold.lastOp - op <= 3n, `op ids went from ${op} to ${c.fold.lastOp} for one row`);
  });

  test('the same data gives the same operations to a new client as to one that was there all along', async () => {
    const fresh = await w.client({ user: 'user1' }).synced();
    await fresh.caughtUp();
    await fresh.equals('lists', LISTS);
    await fresh.equals('todos', TODOS);
    assert.deepEqual([...fresh.fold.announced.keys()].sort(), [...c.fold.announced.keys()].sort());
    fresh.close();
  });
});

describe('a source that goes away and comes back', () => {
  let server, w, c;
  before(async () => {
    server = await Postgres.start();
    w = await World.started({ name: 'outage', schema: SCHEMA, sync: SYNC, postgres: server });
    c = await w.client().synced();
  });
  after(async () => {
    await w?.destroy();
    await server?.stop();
  });

  for (const mode of ['fast', 'immediate']) {
    test(`Postgres restarts (${mode}): streams stay open, replication goes on`, async () => {
      const stream = c.stream;
      await server.restart(mode);
      await eventually(() => w.q(`insert into lists values ('back ${mode}', 'x', 'user1')`), { what: 'the source takes a write' });
      await c.caughtUp(40000);
      await c.equals('lists', LISTS);
      assert.equal(c.stream, stream, 'the client kept its stream');
    });
  }

  test('the replication connection is cut: it comes back by itself', async () => {
    await w.q(`select pg_terminate_backend(active_pid) from pg_replication_slots where active`);
    await w.q(`insert into lists values ('cut', 'x', 'user1')`);
    await c.caughtUp(40000);
    await c.equals('lists', LISTS);
  });

  test('a lost slot is repaired by reading again; clients converge, rows deleted meanwhile go', async () => {
    await w.service.stop();
    await w.dropSlots();
    await w.q(`delete from lists where id = 'cut'`);
    await w.q(`update lists set name = 'missed' where id = 'l1'`);
    await w.q(`insert into lists values ('missed', 'x', 'user1')`);
    await w.service.start();
    await w.service.ready();
    await c.caughtUp(40000);
    await c.equals('lists', LISTS);
  });
});
