// A new connection sends again what is applied already, and with it descriptions of relations as they were then: names, columns and
// identities that the catalogue has left behind. They change no table. A client that holds what SQL selects gets no operation.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { SourceRelay } from '../lib/relay.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const NAMES = ['plain', 'first', 'second', 'shown', 'gone', 'west', 'east', 'columns', 'narrow', 'again', 'identity', 'late'];
const rows = (t) => `create table ${t}(id text primary key, n int, body text);
  insert into ${t} select '${t}' || i, i, md5(i::text) from generate_series(1, 20) i;`;

describe('what is sent again tells of relations as they were', () => {
  let w, c;
  before(async () => {
    w = await World.create({
      name: 'replayed',
      schema: ['plain', 'first', 'hidden', 'gone', 'west', 'east', 'columns', 'narrow', 'again', 'identity', 'late'].map(rows).join(''),
      sync: `bucket_definitions:\n  all:\n    data:\n${NAMES.map((n) => `      - SELECT * FROM ${n}\n`).join('')}`
    });
    w.relay = await SourceRelay.before(w.sourceUri);
    w.service.config = { replication: { connections: [{ type: 'postgresql', uri: w.relay.uri, sslmode: 'disable', discovery_interval_seconds: 0.2 }] } };
    await w.service.start();
    await w.service.ready();
    c = await w.client().synced();
    w.relay.mutePositions();
  });
  after(async () => {
    await w?.destroy();
    await w?.relay?.close();
  });

  /** What is known from the catalogue alone comes with the next look at it. */
  const equal = (...names) =>
    eventually(
      async () => {
        await c.caughtUp();
        for (const n of names) await c.equals(n, `select * from ${n}`);
        return true;
      },
      { timeout: 15000, every: 100, what: () => `${names} equal SQL; the service's log ends:\n${w.service.tail(15)}` }
    );
  const insert = (t, id, n = 0) => w.q(`insert into ${t}(id, n, body) values ($1, $2, 'written')`, [id, n]);
  /** Sends everything again, and once more to a new process; nothing may come of it. */
  async function replayed(...names) {
    await equal(...names);
    const op = c.fold.lastOp;
    const streaming = () => w.service.log.split('Streaming from the source').length;
    const n = streaming();
    w.relay.cutStream();
    await eventually(() => streaming() > n, { what: 'a new stream' });
    await equal(...names);
    assert.equal(c.fold.lastOp, op, `operations after a cut; the log ends:\n${w.service.tail(20)}`);
    await w.service.kill9();
    await w.service.start();
    await w.service.ready();
    await equal(...names);
    assert.equal(c.fold.lastOp, op, `operations after kill -9; the log ends:\n${w.service.tail(20)}`);
  }

  test('nothing has changed: what was said once goes for what comes next', async () => {
    await insert('plain', 'before');
    await replayed('plain');
    await insert('plain', 'after', 1);
    await w.q(`update plain set n = n + 1 where id = 'before'`);
    await equal('plain');
  });

  test('renamed, from a name that is used to another', async () => {
    await insert('first', 'before');
    await c.caughtUp();
    await w.q('alter table first rename to second');
    await replayed('second');
    assert.equal(c.fold.rows('first').size, 0);
    await insert('second', 'after');
    await equal('second');
  });

  test('renamed from a name that nobody uses', async () => {
    await insert('hidden', 'before');
    await c.caughtUp();
    await w.q('alter table hidden rename to shown');
    await replayed('shown');
    await w.q(`delete from shown where id = 'before'`);
    await equal('shown');
  });

  test('renamed to a name that nobody uses, and another takes it', async () => {
    await insert('gone', 'before');
    await c.caughtUp();
    await w.tx(async (t) => {
      await t.query('alter table gone rename to unused');
      await t.query(`create table gone(id text primary key, n int, body text)`);
      await t.query(`insert into gone values ('other', 1, '')`);
    });
    await replayed('gone');
    await w.q(`insert into unused values ('nobody', 1, '')`);
    await insert('gone', 'after');
    await equal('gone');
  });

  test('two tables that change names', async () => {
    await insert('west', 'before_w');
    await insert('east', 'before_e');
    await c.caughtUp();
    await w.tx(async (t) => {
      await t.query('alter table west rename to tmp');
      await t.query('alter table east rename to west');
      await t.query('alter table tmp rename to east');
    });
    await replayed('west', 'east');
  });

  test('columns that were added and dropped', async () => {
    await insert('columns', 'before');
    await c.caughtUp();
    await w.q(`alter table columns add column note text not null default 'here', drop column body`);
    await replayed('columns');
    await w.q(`update columns set n = -1 where n < 4`);
    await equal('columns');
    await insert('narrow', 'before');
    await c.caughtUp();
    await w.q('alter table narrow drop column n, drop column body');
    await replayed('narrow');
    await w.q(`insert into narrow values ('after')`);
    await equal('narrow');
  });

  test('dropped and made again', async () => {
    await insert('again', 'before');
    await c.caughtUp();
    await w.tx(async (t) => {
      await t.query('drop table again');
      await t.query('create table again(id text primary key, what text)');
      await t.query(`insert into again values ('one', 'x'), ('before', 'y')`);
    });
    await replayed('again');
    await w.q(`update again set what = 'z'`);
    await equal('again');
  });

  test('another identity', async () => {
    await insert('identity', 'before');
    await c.caughtUp();
    const from = w.service.log.length;
    await w.q('alter table identity drop constraint identity_pkey, add primary key (id, n)');
    await eventually(() => /Replicated "public"."identity": 21 rows/.test(w.service.log.slice(from)), { what: () => `it is read again:\n${w.service.tail()}` });
    await replayed('identity');
    await w.q(`update identity set n = n + 100 where n < 5`);
    await equal('identity');
  });

  test('the rename comes while the service is cut off, after a row that it has not seen', async () => {
    await insert('late', 'before');
    await equal('late');
    w.relay.away();
    await insert('late', 'unseen');
    await w.q('alter table late rename to first');
    w.relay.back();
    await replayed('first');
    assert.equal(c.fold.rows('late').size, 0);
  });

  test('the primary key changes while the service is cut off, after a row that it has not seen', async () => {
    await insert('plain', 'unchanged');
    await equal('plain');
    w.relay.away();
    await insert('plain', 'unseen', 7);
    await w.q(`update plain set n = n + 1 where id = 'plain3'; delete from plain where id = 'plain4'`);
    await w.q('alter table plain drop constraint plain_pkey, add primary key (id, n)');
    w.relay.back();
    await replayed('plain');
    await w.q(`update plain set n = n + 100 where n < 5`);
    await equal('plain');
  });
});
