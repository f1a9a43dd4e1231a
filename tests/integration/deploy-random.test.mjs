// Deploys under load, in the middle of downloads, and under kill -9 (incremental-deploy 11: 1, 7, 8, 10).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EDITION3, deploy, stream, watch, write } from '../lib/deploy.mjs';
import { Random, eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const seed = Number(process.env.SEED ?? 20261125);
const SCHEMA = `create table items(id int primary key, owner text not null, n int not null);
  create table notes(id int primary key, owner text not null, body text not null);
  create table members(id int primary key, "user" text not null, team text not null)`;
const USERS = ['user1', 'user2'];

/** Streams to choose from: the query, and the same as SQL for a user. Each has an output table of its own. */
const POOL = [
  ['all_items', 'SELECT id, n FROM items AS all_items', () => 'select id, n from items'],
  ['mine', 'SELECT id, owner, n FROM items AS mine WHERE owner = auth.user_id()', (u) => `select id, owner, n from items where owner = '${u}'`],
  ['odd', 'SELECT id, n + 1 AS n FROM items AS odd WHERE n < 50', () => 'select id, n + 1 as n from items where n < 50'],
  ['my_notes', 'SELECT id, body FROM notes AS my_notes WHERE owner = auth.user_id()', (u) => `select id, body from notes where owner = '${u}'`],
  ['team', 'SELECT id, body FROM notes AS team WHERE owner IN (SELECT team FROM members WHERE "user" = auth.user_id())', (u) => `select id, body from notes where owner in (select team from members where "user" = '${u}')`],
  ['upper', 'SELECT id, upper(body) AS body FROM notes AS upper_notes', () => 'select id, upper(body) as body from notes', 'upper_notes']
];

function choose(random) {
  const streams = POOL.filter(() => random.next() < 0.6);
  for (let i = streams.length - 1; i > 0; i--) {
    const k = Math.floor(random.next() * (i + 1));
    [streams[i], streams[k]] = [streams[k], streams[i]];
  }
  if (!streams.length) streams.push(POOL[0]);
  return { streams, sync: EDITION3 + streams.map(([name, query]) => stream(`${name}${Math.floor(random.next() * 2)}`, query, random.next() < 0.3 ? { priority: Math.floor(random.next() * 4) } : {})).join('') };
}

/** Writers that never pause until stopped: what they did is in the source. */
function load(w, random) {
  const owner = () => ['user1', 'user2', 't1', 't2'][Math.floor(random.next() * 4)];
  const id = () => 1 + Math.floor(random.next() * 400);
  let going = true, changes = 0;
  const done = (async () => {
    while (going) {
      const i = id(), what = random.next();
      if (what < 0.25) await w.q(`insert into items values ($1, $2, $3) on conflict (id) do update set owner = excluded.owner, n = excluded.n`, [i, owner(), Math.floor(random.next() * 100)]);
      else if (what < 0.45) await w.q(`insert into notes values ($1, $2, $3) on conflict (id) do update set owner = excluded.owner, body = excluded.body`, [i, owner(), `b${changes}`]);
      else if (what < 0.6) await w.q('update items set n = n + 1 where id % 20 = $1', [i % 20]);
      else if (what < 0.7) await w.q('delete from items where id = $1', [i]);
      else if (what < 0.8) await w.q('delete from notes where id = $1', [i]);
      else if (what < 0.9) await w.q(`insert into members values ($1, $2, $3) on conflict (id) do update set team = excluded.team`, [i % 6, USERS[i % 2], `t${1 + (i % 2)}`]);
      else await w.q('update items set id = id + 1000 where id = $1 and not exists (select 1 from items where id = $1 + 1000)', [i]);
      changes++;
    }
  })();
  return { stop: () => ((going = false), done) };
}

async function equal(clients, streams) {
  for (const c of clients) {
    await c.caughtUp(30000);
    const types = new Set();
    for (const [name, , sql, type = name] of streams) {
      types.add(type);
      await c.equals(type, sql(c.user));
    }
    for (const [name, , , type = name] of POOL) if (!types.has(type)) assert.equal(c.fold.rows(type).size, 0, `${c.user} has rows of ${type}`);
  }
}

async function world(name, sync) {
  const w = await World.create({ name, schema: SCHEMA, sync });
  await w.q(`insert into items select i, 'user' || (1 + i % 3), i % 100 from generate_series(1, 300) i`);
  await w.q(`insert into notes select i, case when i % 4 < 2 then 'user' || (1 + i % 2) else 't' || (1 + i % 2) end, 'note ' || i from generate_series(1, 300) i`);
  await w.q(`insert into members values (1, 'user1', 't1'), (2, 'user2', 't2')`);
  await w.service.start();
  await w.service.ready();
  return w;
}

describe(`random sync configs under random writes (SEED=${seed})`, () => {
  test('clients connected throughout equal SQL after each deploy, on the streams that they opened', async () => {
    const random = new Random(seed);
    let { sync, streams } = choose(random);
    const w = await world('randomdeploys', sync);
    try {
      const clients = USERS.map((user) => w.client({ user }));
      for (const c of clients) c.seen = watch(c);
      await equal(clients, streams);
      for (let round = 0; round < 12; round++) {
        ({ sync, streams } = choose(random));
        const writer = load(w, random);
        await deploy(w, sync);
        await writer.stop();
        await equal(clients, streams);
      }
      for (const c of clients) assert.equal(c.seen.opened, 1, 'no client had to connect again');
    } finally {
      await w.destroy();
    }
  });

  test('kill -9 around every transition of a deploy', async () => {
    const random = new Random(seed + 1);
    let { sync, streams } = choose(random);
    const w = await world('killeddeploys', sync);
    try {
      const clients = USERS.map((user) => w.client({ user }));
      await equal(clients, streams);
      const moments = [/SIGHUP/, /The sync config has changed/, /Sync config updated|unchanged/, /Streaming from the source/, /To replicate|Activated|unchanged/, /Replicated|Activated|unchanged/, /Activated|unchanged/];
      for (const moment of [...moments, ...moments.slice(2)]) {
        ({ sync, streams } = choose(random));
        const writer = load(w, random);
        const from = w.service.log.length;
        write(w, sync);
        w.service.child.kill('SIGHUP');
        await eventually(() => moment.test(w.service.log.slice(from)), { every: 1, what: () => `${moment}; the log ends:\n${w.service.tail(8)}` });
        await w.service.kill9();
        await writer.stop();
        await w.service.start();
        await w.service.ready();
        await eventually(() => /Activated the sync config|Sync config unchanged/.test(w.service.freshLog), { what: () => `the end of the deploy; the log ends:\n${w.service.tail(8)}` });
        await equal(clients, streams);
      }
    } finally {
      await w.destroy();
    }
  });
});

describe('a download under way', () => {
  let w;
  before(async () => {
    w = await World.started({
      name: 'rights',
      schema: SCHEMA,
      sync: EDITION3 + stream('given', 'SELECT id, n FROM items') + stream('kept', 'SELECT id, body FROM notes', { priority: 2 }),
      config: { api: { tokens: ['admin'] } }
    });
    await w.q(`insert into items select i, 'user1', i from generate_series(1, 100000) i`);
    await w.q(`insert into notes select i, 'user1', repeat(md5(i::text), 20) from generate_series(1, 10000) i`);
    await w.client().caughtUp(60000);
  });
  after(() => w?.destroy());

  test('of 100,000 operations whose bucket is taken away no line is begun after the activation', async () => {
    const c = w.client({ user: 'slow' });
    c.seen = watch(c);
    await c.connect();
    await c.stream.waitFor((l) => l.data);
    c.stream.pause();
    await deploy(w, EDITION3 + stream('kept', 'SELECT id, body FROM notes', { priority: 2 }));
    const before = c.seen.ops.get(1) ?? 0;
    c.stream.resume();
    await c.caughtUp(60000);
    assert.equal(c.seen.opened, 1);
    assert.ok(before < 100000, `${before} operations had come already`);
    assert.ok(c.fold.rows('items').size === 0);
    await c.equals('notes', 'select id, body from notes');
    const total = c.seen.ops.get(1) ?? 0;
    const at = c.seen.lines.lastIndexOf('checkpoint');
    assert.ok(at > 0, 'a second full line came');
    assert.ok(total < 100000, `${total} operations of what was taken away`);
    assert.ok(!c.seen.lines.slice(0, at).includes('checkpoint_complete'), 'no complete line for the old checkpoint');
  });

  test('each row of a chunk is changed while the chunk is on its way', async () => {
    const c = w.client({ user: 'user1' });
    await c.caughtUp(60000);
    let going = true;
    const writer = (async () => {
      for (let i = 0; going; i = (i + 1) % 40) {
        await w.q('update items set n = n + 1 where id % 40 = $1', [i]);
        await w.q('delete from items where id % 97 = $1', [i]);
      }
    })();
    await deploy(w, EDITION3 + stream('items', 'SELECT id, n + 1 AS n FROM items') + stream('kept', 'SELECT id, body FROM notes'));
    going = false;
    await writer;
    await c.caughtUp(60000);
    await c.equals('items', 'select id, n + 1 as n from items');
    await c.equals('notes', 'select id, body from notes');
  });
});
