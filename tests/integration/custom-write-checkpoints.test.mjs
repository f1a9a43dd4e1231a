// Write checkpoints that come with the replicated data (docs/custom-write-checkpoints.md): no acknowledgement before its data, restarts,
// bad rows, several clients, deploys, and the refusal of requests.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `
  create table notes(id text primary key, owner text, body text);
  create table checkpoints(user_id text, client_id text, checkpoint text, note text, unique nulls not distinct (user_id, client_id));
  alter table checkpoints add column id serial primary key;
  alter table checkpoints alter column note set storage external;
  insert into notes values ('n0', 'ann', 'first');
  insert into checkpoints(user_id, client_id, checkpoint) values ('ann', 'phone', '40'), ('old', 'phone', '7');`;
const NOTES = `bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT * FROM notes WHERE notes.owner = bucket.owner
`;
const EVENT = `event_definitions:
  write_checkpoints:
    payloads:
      - SELECT user_id, checkpoint, client_id FROM checkpoints
`;

/** What a backend does: the client's rows and its checkpoint in one transaction. */
const upload = (w, user, client, id, { notes = [], off = false } = {}) =>
  w.tx(async (t) => {
    if (off) await t.query('set local synchronous_commit = off');
    for (const n of notes) await t.query('insert into notes values ($1, $2, $3)', [n, user, `of ${id}`]);
    await t.query(
      `insert into checkpoints(user_id, client_id, checkpoint) values ($1, $2, $3)
       on conflict (user_id, client_id) do update set checkpoint = excluded.checkpoint`,
      [user, client, String(id)]
    );
  });

const acknowledged = (c, id, timeout = 10000) =>
  eventually(
    async () => {
      if (!c.stream || c.stream.ended) await c.connect();
      if (c.stream.failure) throw Object.assign(c.stream.failure, { fatal: true });
      return c.fold.writeCheckpoint === String(id);
    },
    { timeout, every: 2, what: () => `${c.user}/${c.id} sees ${id} (at ${c.fold.writeCheckpoint}); the service's log ends:\n${c.world.service.tail(6)}` }
  );

/** What a new connection is told at once. */
const first = async (w, user, client) => {
  const s = await w.stream({ user, body: client === null ? {} : { client_id: client } });
  try {
    return (await s.waitFor((l) => l.checkpoint, 10000)).checkpoint.write_checkpoint;
  } finally {
    s.close();
    w.streams.delete(s);
  }
};

const deploy = async (w, sync) => {
  await w.service.stop();
  w.service.sync = sync;
  await w.service.writeConfig();
  await w.service.start();
  await w.service.ready();
};

describe('custom write checkpoints', () => {
  let w, c;
  before(async () => {
    w = await World.started({ name: 'custom', schema: SCHEMA, sync: NOTES + EVENT });
    c = await w.client({ user: 'ann', id: 'phone' }).synced();
  });
  after(() => w?.destroy());

  test('a row that was there before the first start counts', async () => {
    assert.equal(c.fold.writeCheckpoint, '40');
    assert.equal(await first(w, 'ann', 'tablet'), undefined);
    assert.equal(await first(w, 'ann', null), undefined);
  });

  test('the checkpoint comes with the data of its transaction', async () => {
    const before = c.fold.completes;
    await upload(w, 'ann', 'phone', 41, { notes: ['n1', 'n2'] });
    await acknowledged(c, 41);
    assert.ok(c.fold.rows('notes').has('n1') && c.fold.rows('notes').has('n2'));
    assert.equal(c.fold.completes, before + 1);
  });

  test('a transaction that brings nothing but a checkpoint makes a line of its own', async () => {
    const op = c.fold.lastOp;
    await upload(w, 'ann', 'phone', 42);
    await acknowledged(c, 42);
    assert.equal(c.fold.lastOp, op);
  });

  test('never before its data, also of transactions that are committed asynchronously', async () => {
    let checked = 0;
    const complete = c.fold.complete.bind(c.fold);
    c.fold.complete = (l) => {
      complete(l);
      const id = Number(c.fold.writeCheckpoint);
      if (id > 1000) {
        checked++;
        for (let i = 1001; i <= id; i++) assert.ok(c.fold.rows('notes').has(`r${i}`), `r${i} is there at ${id}`);
      }
    };
    for (let i = 1001; i <= 1150; i++) await upload(w, 'ann', 'phone', i, { notes: [`r${i}`], off: i % 2 === 0 });
    await acknowledged(c, 1150);
    delete c.fold.complete;
    assert.ok(checked > 10, `${checked} complete checkpoints`);
  });

  test('in a transaction of 30,000 rows, too', async () => {
    let early = 0;
    const complete = c.fold.complete.bind(c.fold);
    c.fold.complete = (l) => {
      complete(l);
      if (Number(c.fold.writeCheckpoint) >= 2000 && !c.fold.rows('notes').has('big30000')) early++;
    };
    await w.tx(async (t) => {
      await t.query(`update checkpoints set checkpoint = '2000' where user_id = 'ann' and client_id = 'phone'`);
      await t.query(`insert into notes select 'big' || i, 'ann', repeat(md5(i::text), 20) from generate_series(1, 30000) i`);
    });
    await acknowledged(c, 2000, 60000);
    delete c.fold.complete;
    assert.equal(early, 0);
  });

  test('two clients of a user, and the user alone, have ids of their own', async () => {
    const tablet = await w.client({ user: 'ann', id: 'tablet' }).synced();
    await upload(w, 'ann', null, 6);
    await upload(w, 'ann/tablet', null, 99);
    await upload(w, 'ann', 'tablet', 5);
    await acknowledged(tablet, 5);
    assert.equal(c.fold.writeCheckpoint, '2000');
    assert.equal(await first(w, 'ann', null), '6');
    assert.equal(await first(w, 'ann', 'phone'), '2000');
    assert.equal(await first(w, 'bob', 'phone'), undefined);
    tablet.close();
  });

  test('what is no checkpoint is skipped and told to the operator', async () => {
    const bad = ['0', '-1', '1.5', 'abc', '', ' 7 ', '9223372036854775808', null];
    for (const value of bad) await w.q(`update checkpoints set checkpoint = $1 where user_id = 'ann' and client_id = 'tablet'`, [value]);
    await w.q(`insert into checkpoints(user_id, client_id, checkpoint) values (null, 'phone', '9')`);
    await upload(w, 'ann', 'phone', 2001);
    await acknowledged(c, 2001);
    assert.equal(await first(w, 'ann', 'tablet'), '5');
    assert.equal((w.service.log.match(/is skipped for the event write_checkpoints/g) ?? []).length, bad.length + 1);
    await upload(w, 'ann', 'tablet', '9223372036854775807');
    await eventually(async () => (await first(w, 'ann', 'tablet')) === '9223372036854775807', { what: 'the greatest id' });
  });

  test('the last one wins, also if it is smaller; a deleted row takes nothing back', async () => {
    await upload(w, 'ann', 'tablet', 3);
    await eventually(async () => (await first(w, 'ann', 'tablet')) === '3', { what: 'the smaller id on a new connection' });
    await w.q(`delete from checkpoints where client_id = 'tablet'`);
    await upload(w, 'ann', 'phone', 2002);
    await acknowledged(c, 2002);
    assert.equal(await first(w, 'ann', 'tablet'), '3');
  });

  test('an update that leaves a large column alone counts', async () => {
    await w.q(`update checkpoints set note = repeat('x', 100000) where user_id = 'ann' and client_id = 'phone'`);
    await w.q(`update checkpoints set checkpoint = '2003' where user_id = 'ann' and client_id = 'phone'`);
    await acknowledged(c, 2003);
  });

  test('requests are refused', async () => {
    const body = { client_id: 'phone', checkpoint_request_id: '1' };
    for (const r of [
      await w.request('POST', '/sync/checkpoint-request', { user: 'ann', body }),
      await w.request('GET', '/write-checkpoint2.json?client_id=phone', { user: 'ann' })
    ]) {
      assert.equal(r.status, 400);
      assert.equal(r.json.error.code, 'PSYNC_S2001');
      assert.match(r.json.error.details, /write checkpoint mode/i);
    }
  });

  for (const how of ['stop', 'kill9'])
    test(`a restart keeps the ids and takes what came meanwhile (${how})`, async () => {
      await upload(w, 'ann', 'tablet', 10);
      const id = how === 'stop' ? 3000 : 4000;
      await upload(w, 'ann', 'phone', id);
      await acknowledged(c, id);
      await w.service[how]();
      await upload(w, 'ann', 'phone', id + 1, { notes: [`while-${how}`] });
      await w.service.start();
      await w.service.ready();
      assert.ok(Number(await first(w, 'ann', 'phone')) >= id);
      assert.equal(await first(w, 'old', 'phone'), '7');
      await acknowledged(c, id + 1);
      assert.ok(c.fold.rows('notes').has(`while-${how}`));
    });

  test('a deploy that keeps the event keeps the ids', async () => {
    await deploy(w, NOTES + '  all:\n    data:\n      - SELECT id, owner FROM notes\n' + EVENT);
    assert.equal(await first(w, 'ann', 'phone'), '4001');
    assert.equal(await first(w, 'old', 'phone'), '7');
    await upload(w, 'ann', 'phone', 4002);
    await acknowledged(c, 4002);
  });

  test('a lost slot: what was written meanwhile counts', async () => {
    await w.service.stop();
    await w.dropSlots();
    await upload(w, 'ann', 'phone', 4003, { notes: ['after the slot'] });
    await w.service.start();
    await w.service.ready();
    await acknowledged(c, 4003, 30000);
    assert.ok(c.fold.rows('notes').has('after the slot'));
    assert.equal(await first(w, 'old', 'phone'), '7');
  });

  test('without events requests are taken again, and ids from before are gone', async () => {
    await deploy(w, NOTES);
    await eventually(async () => (await first(w, 'ann', 'phone')) === undefined, { what: 'the new config serves' });
    const body = { client_id: 'phone', checkpoint_request_id: '1' };
    await eventually(async () => (await w.request('POST', '/sync/checkpoint-request', { user: 'ann', body })).status === 200, { what: 'a request is taken' });
    await w.q(`delete from checkpoints where user_id = 'old'`);
  });

  test('a deploy that adds the event reads the rows that are there', async () => {
    await deploy(w, NOTES + EVENT.replace('write_checkpoints', 'checkpoint_requests'));
    await eventually(async () => (await first(w, 'ann', 'phone')) === '4003', { what: 'the row counts' });
    assert.equal(await first(w, 'old', 'phone'), undefined);
    await upload(w, 'ann', 'phone', 4004);
    await eventually(async () => (await first(w, 'ann', 'phone')) === '4004', { what: 'the temporary id' });
  });

  test('a table that is synced as well may bring checkpoints', async () => {
    await deploy(w, NOTES + '  acks:\n    data:\n      - SELECT id, checkpoint FROM checkpoints\n' + EVENT);
    const fresh = await w.client({ user: 'ann', id: 'phone' }).synced();
    await upload(w, 'ann', 'phone', 4005);
    await acknowledged(fresh, 4005);
    assert.ok([...fresh.fold.rows('checkpoints').values()].some((r) => r.checkpoint === '4005'));
    fresh.close();
  });
});

describe('a table of checkpoints without any key', () => {
  let w;
  before(async () => {
    w = await World.started({
      name: 'custom-log',
      schema: `create table notes(id text primary key, owner text, body text);
        create table log(user_id text, checkpoint bigint);
        insert into log values ('ann', 3), ('ann', 2);`,
      sync: NOTES + 'event_definitions:\n  write_checkpoints:\n    payloads:\n      - SELECT user_id, checkpoint FROM log\n'
    });
  });
  after(() => w?.destroy());

  test('appended rows count, the greatest of those that were there before', async () => {
    assert.equal(await first(w, 'ann', null), '3');
    await w.q(`insert into log values ('ann', 4)`);
    await eventually(async () => (await first(w, 'ann', null)) === '4', { what: 'an appended row' });
    await w.service.stop();
    await w.q(`insert into log values ('ann', 5), ('bob', 1)`);
    await w.service.start();
    await w.service.ready();
    await eventually(async () => (await first(w, 'ann', null)) === '5' && (await first(w, 'bob', null)) === '1', { what: 'rows of meanwhile' });
  });
});

describe('many users while the table is read, with kills in between', () => {
  const USERS = 400;
  let w;
  before(async () => {
    w = await World.create({
      name: 'custom-many',
      schema: `create table notes(id text primary key, owner text, body text);
        create table checkpoints(user_id text primary key, checkpoint bigint, filler text);
        insert into checkpoints select 'u' || i, 1, repeat('x', 200) from generate_series(0, 60000) i;`,
      sync: NOTES + 'event_definitions:\n  write_checkpoints:\n    payloads:\n      - SELECT user_id, checkpoint FROM checkpoints\n'
    });
  });
  after(() => w?.destroy());

  test('each user has the id of the row as it is in the source', async () => {
    let stop = false;
    const write = async (k) => {
      for (let i = 2; !stop; i++)
        await w.q(`update checkpoints set checkpoint = $1 where user_id = any($2)`, [i * 10 + k, [0, 1, 2].map(() => `u${Math.floor(Math.random() * USERS)}`)]).catch(() => {});
    };
    const writers = [1, 2, 3].map(write);
    try {
      for (let kill = 0; kill < 4; kill++) {
        await w.service.start();
        await new Promise((r) => setTimeout(r, 60 + 120 * kill));
        await w.service.kill9();
      }
      await w.service.start();
      await w.service.ready(60000);
    } finally {
      stop = true;
      await Promise.all(writers);
    }
    const want = new Map((await w.q(`select user_id, checkpoint from checkpoints where user_id = any($1)`, [Array.from({ length: USERS }, (_, i) => `u${i}`)])).map((r) => [r.user_id, String(r.checkpoint)]));
    for (const [user, id] of want) await eventually(async () => (await first(w, user, null)) === id, { what: `${user} is at ${id}` });
    assert.equal(await first(w, 'u60000', null), '1');
  });
});
