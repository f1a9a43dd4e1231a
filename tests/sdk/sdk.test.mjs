// The service as the client SDK sees it.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Sdk } from '../lib/sdk.mjs';
import { eventually, sleep } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `
  create table lists(id text primary key, name text, owner text, version int not null default 0);
  create table todos(id text primary key, list_id text, title text, done int);
  create table members(id text primary key, list_id text not null, user_id text not null);
  create table blobs(id text primary key, body text);
  create function stamp() returns trigger language plpgsql as $f$ begin new.version = coalesce(new.version, 0) + 1; return new; end $f$;
  create trigger stamp before insert or update on lists for each row execute function stamp();
  insert into lists select 'l' || i, 'list ' || i, 'user' || (i % 4) from generate_series(1, 400) i;
  insert into todos select 't' || i, 'l' || (i % 400 + 1), 'todo ' || i || ' ' || md5(i::text), i % 2 from generate_series(1, 4000) i;
  insert into members select 'm' || i, 'l' || i, 'user' || (i % 4) from generate_series(1, 400) i;`;
const SYNC = `bucket_definitions:
  everything:
    data:
      - SELECT * FROM lists
      - SELECT * FROM blobs
  by_member:
    parameters: SELECT list_id FROM members WHERE members.user_id = request.user_id()
    data:
      - SELECT * FROM todos WHERE todos.list_id = bucket.list_id
`;
const TABLES = {
  lists: { name: 'text', owner: 'text', version: 'integer' },
  todos: { list_id: 'text', title: 'text', done: 'integer' },
  blobs: { body: 'text' }
};
const L = ['id', 'name', 'owner', 'version'];
const T = ['id', 'list_id', 'title', 'done'];
const TRANSPORTS = ['http', 'ws'];
const todosOf = (user) => `select * from todos where list_id in (select list_id from members where user_id = '${user}')`;

describe('the Node SDK', { timeout: 240000 }, () => {
  let w;
  const open = [];
  const client = async (options) => {
    const c = await Sdk.open(w, { tables: TABLES, ...options });
    open.push(c);
    return c.synced();
  };
  before(async () => {
    w = await World.started({ name: 'sdk', schema: SCHEMA, sync: SYNC });
  });
  after(async () => {
    for (const c of open) await c.close();
    await w?.destroy();
  });

  for (const transport of TRANSPORTS) {
    describe(transport, () => {
      test('first sync', async () => {
        const c = await client({ transport });
        await c.equals('lists', L, 'select * from lists');
        await c.equals('todos', T, todosOf('user1'));
        assert.equal(c.db.currentStatus.downloadError, undefined);
      });

      test('live insert, update and delete', async () => {
        const c = await client({ transport });
        await w.q(`insert into lists values ('live', 'fresh', 'user1')`);
        await c.until(`select name from lists where id = 'live'`, [], (r) => r?.name === 'fresh');
        await w.q(`update lists set name = 'renamed' where id = 'live'`);
        await c.until(`select name, version from lists where id = 'live'`, [], (r) => r?.name === 'renamed' && r.version === 2);
        await w.q(`delete from lists where id = 'live'`);
        await c.until(`select count(*) as n from lists where id = 'live'`, [], (r) => r.n === 0);
        await c.equals('lists', L, 'select * from lists');
      });

      test('rows come and go with a membership', async () => {
        const a = await client({ transport, user: 'user2' });
        const b = await client({ transport, user: 'user3' });
        await a.equals('todos', T, todosOf('user2'));
        await w.q(`update members set user_id = 'user3' where id = 'm2'`);
        await a.equals('todos', T, todosOf('user2'));
        await b.equals('todos', T, todosOf('user3'));
        await w.q(`update members set user_id = 'user2' where id = 'm2'`);
        await a.equals('todos', T, todosOf('user2'));
        await b.equals('todos', T, todosOf('user3'));
      });

      for (const mode of ['legacy', 'requests']) {
        test(`a local write is uploaded and comes back as the source has it (${mode} checkpoints)`, async () => {
          const c = await client({ transport, mode, user: 'writer' });
          const id = `up-${transport}-${mode}`;
          await c.db.execute('insert into lists (id, name, owner) values (?, ?, ?)', [id, 'local', 'writer']);
          await c.db.execute('update lists set name = ? where id = ?', ['local ✓', id]);
          // The trigger in the source counts versions: only the round trip brings 2.
          await c.until('select name, version from lists where id = ?', [id], (r) => r?.version === 2 && r.name === 'local ✓');
          assert.equal(await c.pendingUploads(), 0);
          const route = mode === 'legacy' ? '/write-checkpoint2.json' : '/sync/checkpoint-request';
          assert.ok(c.calls.some((x) => x.route === route && x.status === 200), `${route} was called`);
          await c.db.execute('delete from lists where id = ?', [id]);
          await eventually(async () => (await w.q('select 1 from lists where id = $1', [id])).length === 0, { what: 'the delete is uploaded' });
          await c.equals('lists', L, 'select * from lists');
        });
      }

      test('a row of 1 MB', async () => {
        const c = await client({ transport });
        await w.q(`insert into blobs select $1, string_agg(md5(i::text), '') from generate_series(1, 32768) i`, [`mb-${transport}`]);
        await c.until('select length(body) as n from blobs where id = ?', [`mb-${transport}`], (r) => r?.n === 1048576);
        const [{ body }] = await w.q('select body from blobs where id = $1', [`mb-${transport}`]);
        const [row] = await c.all('select body from blobs where id = ?', [`mb-${transport}`]);
        assert.ok(row.body === body);
      });

      test('a transaction of 10,000 rows, and TRUNCATE', async () => {
        const c = await client({ transport });
        await w.q(`insert into blobs select 'many-' || i, md5(i::text) from generate_series(1, 10000) i`);
        await c.until('select count(*) as n from blobs', [], (r) => r.n >= 10000, 30000);
        await c.equals('blobs', ['id', 'body'], 'select * from blobs', 30000);
        await w.q('truncate blobs');
        await c.until('select count(*) as n from blobs', [], (r) => r.n === 0, 30000);
      });

      test('the service restarts: clients reconnect and lose nothing', async () => {
        const c = await client({ transport });
        await w.service.stop();
        await w.q(`update lists set name = name || '.' where id in ('l1', 'l2', 'l3')`);
        await w.service.start();
        await w.service.ready();
        await c.equals('lists', L, 'select * from lists');
        await w.service.kill9();
        await w.q(`update lists set name = name || ',' where id in ('l1', 'l2', 'l3')`);
        await w.service.start();
        await w.service.ready();
        await c.equals('lists', L, 'select * from lists');
      });

      test('local writes made while the service is down arrive afterwards', async () => {
        const c = await client({ transport, mode: 'requests', user: 'offline' });
        await w.service.stop();
        await c.db.execute('insert into lists (id, name, owner) values (?, ?, ?)', [`off-${transport}`, 'offline', 'offline']);
        await sleep(200);
        await w.service.start();
        await w.service.ready();
        await c.until('select version from lists where id = ?', [`off-${transport}`], (r) => r?.version === 1, 20000);
        await c.equals('lists', L, 'select * from lists');
      });
    });
  }
});
