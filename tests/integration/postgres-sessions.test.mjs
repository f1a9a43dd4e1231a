// Sessions on a storage database: many small buckets, one that is reached twice, statements that take their time. Every test ends in "clients
// equal SQL".
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { StorageDatabase } from '../lib/storage-database.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `create table notes(id text primary key, title text);
  create table members(id text primary key, user_id text, list_id text);
  create table todos(id text primary key, list_id text)`;
const SYNC = `config: { edition: 3 }
streams:
  notes: { query: SELECT * FROM notes }
  todos: { query: SELECT * FROM todos WHERE list_id IN (SELECT list_id FROM members WHERE user_id = auth.user_id()) }
  own: { query: SELECT * FROM todos WHERE list_id = auth.user_id() OR list_id IN (SELECT list_id FROM members WHERE user_id = auth.user_id()) }
`;
const subscribed = (stream) => ({ streams: { include_defaults: true, subscriptions: [{ stream, parameters: null, override_priority: null }] } });
const WAITING = 5; // more than there are cores on the machines that this is likely to fail on

describe('sessions on a storage database', () => {
  let db, w;

  before(async () => {
    db = await StorageDatabase.create('sessions');
    w = await World.create({ name: 'sessions', schema: SCHEMA, sync: SYNC, config: { storage: db.config } });
    await w.q(`insert into notes select 'n' || i, 'Note ' || i from generate_series(1, 10) i;
      insert into members select 'm' || i, 'user' || i, 'l' || i from generate_series(1, ${WAITING}) i;
      insert into todos select 't' || i, 'l' || i from generate_series(1, ${WAITING}) i;
      insert into members values ('own', 'both', 'both'), ('other', 'both', 'l1');
      insert into todos select 'b' || i, 'both' from generate_series(1, 3) i;
      insert into members select 'many' || i, 'many', 'many' || i from generate_series(1, 700) i;
      insert into todos select 'many' || i || '-' || k, 'many' || i from generate_series(1, 700) i, generate_series(1, i % 5) k`);
    await w.service.start();
    await w.service.ready();
  });
  after(async () => {
    await w?.destroy();
    await db?.destroy();
  });

  test('many small buckets', async () => {
    const sql = "select * from todos where list_id like 'many%'";
    const c = w.client({ user: 'many', body: subscribed('todos') });
    await c.synced();
    await c.equals('todos', sql);
    assert.equal(c.fold.ops, 1400);
    // Some of them change, and some come into being.
    await w.q("update todos set id = id || 'x' where list_id like 'many1%'; insert into todos select 'late' || i, 'many' || i from generate_series(5, 700, 5) i");
    await c.caughtUp();
    await c.equals('todos', sql);
    // Who has everything gets nothing again.
    const ops = c.fold.ops;
    c.close();
    await c.synced();
    await c.equals('todos', sql);
    assert.equal(c.fold.ops, ops);
  });

  test('a bucket that a static and a dynamic parameter reach is sent once', async () => {
    const c = w.client({ user: 'both', body: subscribed('own') });
    await c.synced();
    await c.equals('todos', "select * from todos where list_id in ('both', 'l1')");
    assert.equal(c.fold.ops, 4);
    await w.q("insert into todos values ('b4', 'both')");
    await c.caughtUp();
    await c.equals('todos', "select * from todos where list_id in ('both', 'l1')");
    assert.equal(c.fold.ops, 5);
  });

  test('streams that wait for a statement do not hold up others', async () => {
    const lock = await db.pool.connect();
    const waiting = [];
    try {
      await lock.query('begin; lock table powersync.bucket_parameters in access exclusive mode');
      for (let i = 1; i <= WAITING; i++) {
        const c = w.client({ user: `user${i}`, body: subscribed('todos') });
        waiting.push({ i, c, synced: c.synced(60000) });
      }
      const held = 'select count(*)::int as n from pg_locks where not granted and relation = \'powersync.bucket_parameters\'::regclass';
      await eventually(async () => (await db.q(held))[0].n === WAITING, { what: 'all of them wait' });
      const other = w.client({ body: subscribed('notes') });
      await other.synced();
      await other.equals('notes', 'select * from notes');
      assert.equal((await db.q(held))[0].n, WAITING);
    } finally {
      await lock.query('rollback');
      lock.release();
    }
    for (const { i, c, synced } of waiting) {
      await synced;
      await c.equals('todos', `select * from todos where id = 't${i}'`);
    }
  });
});
