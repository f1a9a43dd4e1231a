// Going back to a sync config, deploys over deploys, and what is read again and what is not (incremental-deploy 4, 5, 8).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { EDITION3, deploy, numbers, stream, watch } from '../lib/deploy.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `create table items(id text primary key, owner text not null, n int not null, at timestamptz default '2024-01-02 03:04:05.678+00');
  create table notes(id text primary key, owner text not null, body text);
  create table members(id text primary key, "user" text not null, team text not null)`;
const A = EDITION3 + stream('items', 'SELECT id, n FROM items') + stream('notes', 'SELECT id, body FROM notes');
const B = EDITION3 + stream('items', 'SELECT id, n + 1 AS n FROM items') + stream('notes', 'SELECT id, body FROM notes');
const C = EDITION3 + stream('items', 'SELECT id, n + 2 AS n FROM items') + stream('notes', 'SELECT id, body FROM notes');
const rows = (w, n = 2000) => w.q(`insert into items select 'i' || i, 'user' || (i % 3), i from generate_series(1, $1) i`, [n]);
const started = (name, keep, more = {}) =>
  World.create({ name, schema: SCHEMA, sync: A, ...more }).then(async (w) => {
    w.service.config = {
      sync_config: { path: 'sync-config.yaml', keep_replaced_minutes: keep },
      replication: { connections: [{ type: 'postgresql', uri: w.sourceUri, sslmode: 'disable', discovery_interval_seconds: 0.1 }] },
      ...more.config
    };
    await w.service.start();
    if (more.http) {
      await w.service.listening();
      await w.request('POST', '/api/sync-rules/v1/deploy', { body: { content: A }, token: 'admin' });
    }
    await w.service.ready();
    return w;
  });

describe('A, B, and A again', () => {
  let w, c;
  before(async () => {
    w = await started('back', 10);
    await rows(w);
    c = w.client();
    c.seen = watch(c);
    await c.caughtUp();
  });
  after(() => w?.destroy());

  test('within the time the old definition is taken up again: nothing is read, its changes were kept up', async () => {
    await deploy(w, B);
    await c.caughtUp();
    assert.deepEqual(numbers(c), [2, 3]);
    await w.q(`update items set n = n + 1 where id < 'i15'`);
    await w.q(`delete from items where id like 'i3%'`);
    await w.q(`insert into items values ('new', 'user1', 77)`);
    const log = await deploy(w, A);
    assert.match(log, /1 definitions kept, 1 taken up again, 0 new/);
    assert.doesNotMatch(log, /To replicate|Replicated/);
    await c.caughtUp();
    assert.deepEqual(numbers(c), [1, 2]);
    await c.equals('items', 'select id, n from items');
    await w.service.stop();
    await w.service.start();
    await w.service.ready();
    assert.match(await deploy(w, B), /1 taken up again, 0 new/);
    await c.caughtUp();
    assert.deepEqual(numbers(c), [2, 3]);
    await c.equals('items', 'select id, n + 1 as n from items');
    assert.doesNotMatch(w.service.freshLog, /To replicate|Replicated/);
  });

  test('a deploy over a deploy, and one taken back', async () => {
    const now = numbers(c);
    await w.tx(async (t) => {
      // Tables cannot be read meanwhile, so the deploys wait for their filling.
      await t.query('lock table items in access exclusive mode');
      await deploy(w, C, { until: /Sync config updated/ });
      await deploy(w, C.replace('n + 2', 'n + 4'), { until: /Sync config updated/ });
      await deploy(w, B, { until: /Sync config updated/ });
    });
    await c.caughtUp();
    assert.deepEqual(numbers(c), now, 'what was active stays');
    await c.equals('items', 'select id, n + 1 as n from items');
    assert.match(await deploy(w, C), /1 new/);
    await c.caughtUp();
    await c.equals('items', 'select id, n + 2 as n from items');
  });

  test('what is dropped and added again is filled anew, under a new number', async () => {
    const max = Math.max(...numbers(c));
    for (const sync of [3, 4, 5, 6].map((n) => C.replace('n + 2', `n + ${n * 10}`))) await deploy(w, sync);
    assert.match(await deploy(w, A), /1 new/);
    await c.caughtUp();
    assert.ok(Math.max(...numbers(c)) > max);
    await c.equals('items', 'select id, n from items');
    await c.equals('notes', 'select id, body from notes');
  });
});

describe('with no time to keep what was replaced', () => {
  let w, c;
  before(async () => {
    w = await started('atonce', 0);
    await rows(w, 300);
    c = w.client();
    await c.caughtUp();
  });
  after(() => w?.destroy());

  test('going back is a new definition', async () => {
    await deploy(w, B);
    assert.match(await deploy(w, A), /1 new/);
    await c.caughtUp();
    assert.deepEqual(numbers(c), [2, 4]);
    await c.equals('items', 'select id, n from items');
  });

  test('a table that nothing uses is given up, and read in full when it is used again', async () => {
    const notes = EDITION3 + stream('notes', 'SELECT id, body FROM notes');
    await deploy(w, notes);
    await eventually(() => /"items" is not used by the sync config any more/.test(w.service.log), { what: 'items are given up' });
    await w.q(`delete from items where n > 200`);
    await w.q(`update items set n = -n where n > 100`);
    await c.caughtUp();
    assert.match(await deploy(w, A), /Replicated "public"."items": 200 rows/);
    await c.caughtUp();
    await c.equals('items', 'select id, n from items');
  });

  test('the time is over while the service runs', async () => {
    const keep = await started('over', 0.005);
    try {
      await rows(keep, 50);
      await deploy(keep, EDITION3 + stream('notes', 'SELECT id, body FROM notes'));
      await eventually(() => /"items" is not used by the sync config any more/.test(keep.service.log), { what: 'items are given up' });
      assert.match(await deploy(keep, A), /1 new \(items\|0\)/);
      const k = keep.client();
      await k.caughtUp();
      await k.equals('items', 'select id, n from items');
    } finally {
      await keep.destroy();
    }
  });
});

describe('options and parameter queries', () => {
  const LEGACY = (first = '') => `bucket_definitions:
  mine:
    parameters:
${first}      - SELECT team FROM members WHERE "user" = request.user_id()
    data:
      - SELECT id, body FROM notes WHERE owner = bucket.team
`;
  test('timestamps_iso8601: all definitions are new', async () => {
    const w = await World.started({ name: 'iso', schema: SCHEMA, sync: 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, at FROM items\n      - SELECT id, body FROM notes\n' });
    try {
      await rows(w, 20);
      const c = w.client();
      await c.caughtUp();
      assert.equal(c.fold.rows('items').get('i1').at, '2024-01-02 03:04:05.678Z');
      assert.match(await deploy(w, `config:\n  timestamps_iso8601: true\n${w.service.sync}`), /0 definitions kept, 0 taken up again, 1 new/);
      await c.caughtUp();
      assert.equal(c.fold.rows('items').get('i1').at.slice(0, 23), '2024-01-02T03:04:05.678');
    } finally {
      await w.destroy();
    }
  });

  test('a parameter query before another: the lookups of the second are kept', async () => {
    const w = await World.started({ name: 'lookups', schema: SCHEMA, sync: LEGACY() });
    try {
      await w.q(`insert into members values ('m1', 'user1', 't1')`);
      await w.q(`insert into notes values ('n1', 't1', 'x'), ('n2', 'user1', 'y')`);
      const c = w.client();
      c.seen = watch(c);
      await c.caughtUp();
      assert.deepEqual([...c.fold.rows('notes').keys()], ['n1']);
      const before = new Map(c.seen.ops);
      const log = await deploy(w, LEGACY(`      - SELECT owner AS team FROM items WHERE owner = request.user_id()\n`));
      assert.match(log, /2 definitions kept, 0 taken up again, 1 new/);
      assert.doesNotMatch(log, /To replicate: "public"."(notes|members)"/);
      await w.q(`insert into items values ('i1', 'user1', 1)`);
      await c.caughtUp();
      assert.deepEqual([...c.fold.rows('notes').keys()].sort(), ['n1', 'n2']);
      for (const [n, count] of before) assert.equal(c.seen.ops.get(n), count + 1);
    } finally {
      await w.destroy();
    }
  });
});

describe('over HTTP: a preview, and everything read again', () => {
  let w, c;
  const post = (route, body = {}) => w.request('POST', route, { body, token: 'admin' });
  before(async () => {
    w = await started('again', 10, { http: true, config: { sync_config: undefined, api: { tokens: ['admin'] } } });
    await rows(w, 500);
    await w.q('analyze items');
    c = w.client();
    await c.caughtUp();
  });
  after(() => w?.destroy());

  test('a preview says what is kept, taken up again, new and removed, and what would be read', async () => {
    const changes = async (content) => (await post('/api/sync-rules/v1/validate', { content })).json.changes;
    assert.deepEqual(await changes(A), { unchanged: true, kept: ['items|0', 'notes|0'], reusable: [], new: [], removed: [], tables: [] });
    assert.deepEqual(await changes(B), { unchanged: false, kept: ['notes|0'], reusable: [], new: ['items|0'], removed: ['items|0'], tables: [{ schema: 'public', name: 'items', estimated_rows: 500 }] });
    assert.equal((await post('/api/sync-rules/v1/validate', { content: 'streams: 1' })).json.changes, undefined);
  });

  test('reprocess compares: what is right makes no operation, changes beside it come once', async () => {
    const ops = c.fold.ops;
    for (const route of ['/api/admin/v1/reprocess', '/api/sync-rules/v1/reprocess']) {
      const from = w.service.log.length;
      const r = await post(route);
      assert.equal(r.status, 200, r.text);
      assert.match(r.json.data.slot_name ?? r.json.data.connections[0].slot_name, /^powersync_/);
      await w.q(`update items set n = n + 1 where id = 'i7'`);
      await eventually(() => /Every table has been compared/.test(w.service.log.slice(from)), { what: () => w.service.tail(8) });
      assert.match(w.service.log.slice(from), /Replicated "public"."items": 500 rows/);
    }
    await c.caughtUp();
    assert.ok(c.fold.ops - ops <= 2, `${c.fold.ops - ops} operations`);
    await c.equals('items', 'select id, n from items');
  });

  test('reprocess under writes that leave large values out: what is acknowledged is there', async () => {
    await w.q('alter table notes alter column body set storage external');
    await w.q(`insert into notes select 'n' || i, 'user' || (i % 3), repeat(md5(i::text), 100) from generate_series(1, 300) i`);
    const content = A.replace('id, body', 'id, owner, body');
    assert.equal((await post('/api/sync-rules/v1/deploy', { content })).status, 200);
    await eventually(async () => (await w.request('GET', '/api/sync-rules/v1/current', { token: 'admin' })).json.data.current.content === content, { what: 'active' });
    let going = true, k = 0;
    const writer = (async () => {
      for (let i = 0; going; i++) {
        await w.q(`update notes set owner = 'user' || $1 where id like 'n%' || $1`, [i % 10]);
        await w.q(`delete from items where id = 'i' || $1`, [i % 500]);
      }
    })();
    for (let round = 0; round < 4; round++) {
      const from = w.service.log.length;
      assert.equal((await post('/api/admin/v1/reprocess')).status, 200);
      while (!/Every table has been compared/.test(w.service.log.slice(from))) {
        await w.q(`update notes set owner = 'k' || $1 where id = 'n250'`, [++k]);
        await w.q(`update notes set id = 'm' || $1 where id = 'm' || ($1::int - 1) or (id = 'n249' and $1 = 1)`, [k]);
        await c.caughtUp();
        const all = c.fold.rows('notes');
        assert.ok(all.has(`m${k}`) && !all.has(`m${k - 1}`));
        assert.ok(Number(all.get('n250').owner.slice(1)) === k || all.get('n250').owner === 'user0');
      }
    }
    going = false;
    await writer;
    await c.caughtUp();
    await c.equals('items', 'select id, n from items');
    await c.equals('notes', 'select id, owner, body from notes');
  });

  test('409 while one is pending; 400 for members that the route does not know', async () => {
    assert.deepEqual((await post('/api/sync-rules/v1/reprocess', { x: 1 })).json.error.details, '[" Property x is not expected to be here"]');
    await w.tx(async (t) => {
      await t.query('lock table items in access exclusive mode');
      assert.equal((await post('/api/sync-rules/v1/deploy', { content: B })).status, 200);
      const r = await post('/api/admin/v1/reprocess');
      assert.deepEqual([r.status, r.json.error.code], [409, 'PSYNC_S4106']);
    });
    await eventually(async () => (await w.request('GET', '/api/sync-rules/v1/current', { token: 'admin' })).json.data.current.content === B, { what: 'B is active' });
  });
});
