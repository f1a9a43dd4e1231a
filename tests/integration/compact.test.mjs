// syncline compact, beside the running service and without one: history goes, what clients hold does not change.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { SCHEMA, SYNC } from '../lib/stored.mjs';
import { Random, eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const notes = (r) => JSON.stringify([String(r.id), r.team, r.n]);

/** Operations that a new client is sent. */
async function downloaded(w, user = 'user1') {
  const c = await w.client({ user }).synced();
  const ops = c.fold.ops;
  c.close();
  return ops;
}

async function equal(w, c) {
  await c.caughtUp();
  await c.equals('items', 'select id, owner, n from items', (r) => JSON.stringify([String(r.id), r.n]));
  const user = c.user.replace(/'/g, '');
  await c.equals('notes', `select * from notes where team in (select team from members where "user" = '${user}')`, notes);
}

const compact = async (w, ...args) => {
  const r = await syncline(['compact', '--json', '--margin', '0', ...args], { config: w.service.configPath });
  assert.equal(r.code, 0, r.out + r.err);
  return r.json;
};

describe('compaction', { timeout: 120000 }, () => {
  const random = new Random(11);
  let w;
  before(async () => {
    w = await World.started({ name: 'compact', schema: SCHEMA, sync: SYNC });
    await w.q(`insert into items select 'i' || i, 'user' || (i % 3), 0, repeat('x', 100) from generate_series(1, 300) i`);
    await w.q(`insert into notes select 'n' || i, 't' || (i % 5), 0 from generate_series(1, 100) i`);
    await w.q(`insert into members values ('m1', 'user1', 't1'), ('m2', 'user1', 't2'), ('m3', 'user2', 't2')`);
  });
  after(() => w?.destroy());

  const churn = async () => {
    for (let i = 0; i < 8; i++) {
      await w.q('update items set n = n + 1 where n % 2 = $1', [i % 2]);
      await w.q(`update items set owner = 'user' || $1 where id = 'i' || $2`, [random.below(3), 1 + random.below(300)]);
      await w.q(`delete from notes where id = 'n' || $1`, [1 + random.below(100)]);
      await w.q(`update notes set team = 't' || $1, n = n + 1 where id = 'n' || $2`, [random.below(5), 1 + random.below(100)]);
      await w.q(`update members set team = 't' || $1 where id = 'm' || $2`, [random.below(5), 1 + random.below(3)]);
    }
  };

  test('beside the service: superseded operations and lookups go; connected, resuming and new clients hold what SQL selects', async () => {
    const connected = await w.client({ user: 'user1' }).synced();
    const resuming = await w.client({ user: 'user2' }).synced();
    await churn();
    await connected.caughtUp();
    resuming.close();
    await churn();
    await connected.caughtUp();
    const before = await downloaded(w);
    const seen = connected.fold.ops;
    const done = await compact(w);
    assert.ok(done.moved > 1000 && done.cleared > 100 && done.lookups > 0, JSON.stringify(done));
    const now = await downloaded(w);
    assert.ok(now < before, `${now} operations, ${before} before`);
    await equal(w, connected);
    assert.equal(connected.fold.ops, seen, 'who is up to date sees no change');
    await resuming.connect();
    for (const c of [connected, resuming, w.client({ user: 'user1' }), w.client({ user: 'user3' })]) await equal(w, c);
    const again = await compact(w);
    assert.deepEqual([again.moved, again.cleared, again.lookups], [0, 0, 0]);
  });

  test('checkpoints that were handed out just now stay valid, unless the margin says otherwise', async () => {
    await churn();
    await w.client().caughtUp();
    const r = await syncline(['compact', '--json'], { config: w.service.configPath });
    assert.equal(r.code, 0, r.err);
    assert.equal(r.json.moved + r.json.cleared, 0);
    assert.ok((await compact(w)).moved > 0);
  });

  test('only the buckets that are named', async () => {
    const c = await w.client({ user: 'user1' }).synced();
    const all = [...c.fold.buckets.keys()].find((n) => n.includes('all'));
    const mine = [...c.fold.buckets.keys()].find((n) => n.includes('mine'));
    await churn();
    await c.caughtUp();
    const one = await compact(w, '-b', `${mine},9#nothing["a,b","c"]`);
    assert.deepEqual([one.buckets, one.unknown, one.lookups], [1, 1, 0]);
    const none = await compact(w, '-b', '', '-p');
    assert.deepEqual([none.buckets, none.moved], [0, 0]);
    const bare = await compact(w, '-b');
    assert.deepEqual([bare.buckets, bare.lookups], [0, 0]);
    const other = await compact(w, '--buckets', all, '--no-parameter-indexes');
    assert.ok(other.buckets === 1 && other.moved > one.moved, JSON.stringify([one, other]));
    await equal(w, c);
    await equal(w, w.client({ user: 'user2' }));
  });

  test('clients in the middle of a download end with what SQL selects, also those that come later', async () => {
    const size = 2500;
    await w.q(`insert into items select 'big' || i, 'user1', 0, repeat(md5(i::text), 100) from generate_series(1, ${size}) i`);
    await w.client({ user: 'other' }).caughtUp();
    const readers = [0, 1, 2].map(() => w.client({ user: 'user1' }));
    for (const c of readers) {
      await c.connect();
      await c.stream.waitFor((l) => l.data);
      c.stream.pause();
    }
    for (let i = 0; i < 3; i++) {
      await w.q(`update items set n = n + 1, body = repeat(md5(n::text || id), 20) where id like 'big%'`);
      await w.q(`delete from items where id like 'big' || $1 || '%'`, [3 + i]);
    }
    await w.client({ user: 'other' }).caughtUp();
    const done = await compact(w);
    assert.ok(done.moved + done.cleared > 2 * size, JSON.stringify(done));
    assert.ok(readers.every((c) => c.fold.completes === 0), 'the downloads are still under way');
    const late = await w.client({ user: 'user1' }).connect();
    for (const c of readers) c.stream.resume();
    await churn();
    for (const c of [...readers, late]) await equal(w, c);
  });

  test('rows that never change and hold up much are written again; then all that lies before goes', async () => {
    await w.q(`truncate items`);
    await w.q(`insert into items select 'still' || i, 'user1', 0, 'x' from generate_series(1, 5) i`);
    await w.q(`insert into items values ('busy', 'user1', 0, 'x')`);
    await w.tx(async (c) => {
      for (let i = 0; i < 500; i++) await c.query(`update items set n = n + 1 where id = 'busy'`);
    });
    const connected = await w.client({ user: 'user1' }).synced();
    await connected.caughtUp();
    await compact(w, '--no-parameter-indexes');
    const before = await downloaded(w);
    assert.ok(before > 1000, `${before} operations`);
    const asked = await compact(w, '--no-parameter-indexes', '--defragment');
    assert.equal(asked.rewritten, 10, 'in two buckets');
    const ops = connected.fold.ops;
    await eventually(() => connected.fold.ops >= ops + 10, { what: 'the rows have come again' });
    await compact(w, '--no-parameter-indexes');
    const now = await downloaded(w);
    assert.ok(now < 100, `${now} operations, ${before} before`);
    await equal(w, connected);
    await equal(w, w.client({ user: 'user1' }));
  });

  test('the socket is for the owner alone, a killed service leaves no obstacle, and it goes with an orderly stop', async () => {
    const socket = path.join(w.service.dir, 'data', 'control.sock');
    assert.equal(fs.statSync(socket).mode & 0o777, 0o600);
    await w.service.kill9();
    assert.ok(fs.existsSync(socket));
    await w.service.start();
    await compact(w); // also while it starts, when it holds the store and does not listen yet
    await w.service.ready();
    await churn();
    await w.client().caughtUp();
    assert.ok((await compact(w)).moved > 0);
    await w.service.stop();
    assert.ok(!fs.existsSync(socket));
  });

  test('without a service the command works on the store itself', async () => {
    await w.service.start();
    await w.service.ready();
    const c = await w.client({ user: 'user1' }).synced();
    await churn();
    await c.caughtUp();
    c.close();
    await w.service.stop();
    const r = await syncline(['compact'], { config: w.service.configPath });
    assert.equal(r.code, 0, r.err);
    assert.match(r.out, /^Compacted \d+ buckets: [1-9]\d* operations superseded/);
    await w.service.start();
    await w.service.ready();
    await equal(w, await c.connect());
    await equal(w, w.client({ user: 'user2' }));
  });

  test('what no sync config uses any more goes', async () => {
    await w.service.stop();
    w.service.config = { sync_config: { path: 'sync-config.yaml', keep_replaced_minutes: 0 } };
    w.service.sync = SYNC.slice(0, SYNC.indexOf('  team:'));
    await w.service.writeConfig();
    await w.service.start();
    const c = w.client({ user: 'user1' });
    await eventually(
      async () => {
        await c.caughtUp();
        return ![...c.fold.buckets.keys()].some((n) => n.includes('team'));
      },
      { timeout: 20000, what: 'the new sync config is served' }
    );
    const done = await compact(w);
    assert.ok(done.dropped > 0, JSON.stringify(done));
    assert.equal((await compact(w)).dropped, 0);
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n from items', (r) => JSON.stringify([String(r.id), r.n]));
  });

  test('a store that is not there is nothing to be compacted, and is not made', async () => {
    const other = await World.create({ name: 'nothing', schema: SCHEMA, sync: SYNC });
    try {
      await other.service.writeConfig();
      const r = await syncline(['compact'], { config: other.service.configPath });
      assert.equal(r.code, 0, r.err);
      assert.ok(!fs.existsSync(path.join(other.service.dir, 'data')));
    } finally {
      await other.destroy();
    }
  });
});
