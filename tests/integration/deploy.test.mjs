// A changed sync config under a running service: what is read, what clients get, and what stays (incremental-deploy).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { EDITION3, deploy, names, numbers, stream, watch, write } from '../lib/deploy.mjs';
import { Sdk } from '../lib/sdk.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const ADMIN = 'admin-token';
const SCHEMA = `create table items(id text primary key, kind int not null, owner text not null, n int not null, at timestamptz default '2024-01-02 03:04:05.678+00');
  create table notes(id text primary key, owner text not null, body text);
  create table members(id text primary key, "user" text not null, team text not null)`;
const ten = (edited = {}) => EDITION3 + Array.from({ length: 10 }, (_, i) => stream(`s${i}`, edited[i] ?? `SELECT id, kind, n FROM items WHERE kind = ${i}`)).join('');
const ROWS = Number(process.env.ROWS ?? 5000); // 200,000 by hand
const fill = (w, rows) => w.q(`insert into items select 'i' || i, i % 10, 'user' || (i % 3), i from generate_series(1, $1) i`, [rows]);
const admin = (w, route, body = {}) => w.request('POST', route, { body, token: ADMIN });
const report = async (w) => (await admin(w, '/api/admin/v1/diagnostics')).json.data;

describe('one of ten streams is edited', () => {
  let w, c, sdk;
  before(async () => {
    w = await World.started({ name: 'tenstreams', schema: SCHEMA, sync: ten(), config: { api: { tokens: [ADMIN] } } });
    await fill(w, ROWS);
    c = w.client();
    c.seen = watch(c);
    await c.caughtUp();
    sdk = await Sdk.open(w, { tables: { items: { kind: 'integer', n: 'integer' } } });
    await sdk.synced();
  });
  after(async () => {
    await sdk?.close();
    await w?.destroy();
  });

  test('the other nine keep buckets and operations, the stream goes on, clients equal SQL', async () => {
    assert.deepEqual(numbers(c), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const before = new Map(c.seen.ops), lines = c.seen.lines.length, calls = sdk.calls.length;
    const log = await deploy(w, ten({ 3: 'SELECT id, kind, n * 2 AS n FROM items WHERE kind = 3' }));
    assert.match(log, /9 definitions kept, 0 taken up again, 1 new \(s3\|0\), 1 removed \(s3\|0\)/);
    await c.caughtUp();
    assert.deepEqual(numbers(c), [1, 2, 3, 5, 6, 7, 8, 9, 10, 11]);
    for (const n of [1, 2, 3, 5, 6, 7, 8, 9, 10]) assert.equal(c.seen.ops.get(n), before.get(n), `operations of definition ${n}`);
    assert.equal(c.seen.ops.get(11), ROWS / 10);
    assert.equal(c.seen.opened, 1, 'the client kept its stream');
    assert.ok(!c.seen.lines.slice(lines).includes('checkpoint'), 'a diff says it all');
    await c.equals('items', 'select id, kind, case kind when 3 then n * 2 else n end as n from items');
    await sdk.equals('items', ['id', 'kind', 'n'], 'select id, kind, case kind when 3 then n * 2 else n end as n from items');
    assert.ok(!sdk.calls.slice(calls).some((x) => x.route === '/sync/stream'), 'the SDK did not reconnect');
    assert.equal((await w.slots()).length, 1);
  });

  test('an unchanged file changes nothing', async () => {
    const lines = c.seen.lines.length;
    assert.match(await deploy(w, w.service.sync), /Sync config unchanged/);
    await c.caughtUp();
    assert.ok(!c.seen.lines.slice(lines).includes('checkpoint'));
  });

  test('a broken file is told, and what runs goes on; a good one ends that', async () => {
    const good = w.service.sync;
    assert.match(await deploy(w, EDITION3 + stream('s0', 'SELECT FROM WHERE')), /sync-config\.yaml:\d+:\d+: .*\n[^]*The sync config is not usable/);
    assert.ok((await report(w)).active_sync_rules.errors.some((e) => e.level === 'fatal' && /not usable/.test(e.message)));
    await w.q(`insert into items values ('after', 1, 'user1', 1)`);
    await c.caughtUp();
    assert.ok(c.fold.rows('items').has('after'));
    fs.rmSync(path.join(w.service.dir, 'sync-config.yaml'));
    w.service.child.kill('SIGHUP');
    await eventually(async () => (await report(w)).active_sync_rules.errors.some((e) => /cannot be read/.test(e.message)), { what: 'the missing file is told' });
    await deploy(w, good);
    assert.deepEqual((await report(w)).active_sync_rules.errors.filter((e) => e.level === 'fatal'), []);
    assert.equal(c.seen.opened, 1);
  });

  test('of a configuration that is changed elsewhere only the sync config is taken', async () => {
    const config = path.join(w.service.dir, 'powersync.yaml'), text = fs.readFileSync(config, 'utf8');
    fs.writeFileSync(config, JSON.stringify({ ...JSON.parse(text), system: { logging: { level: 'error' } } }));
    const log = await deploy(w, ten({ 4: 'SELECT id, kind, n * 3 AS n FROM items WHERE kind = 4' }));
    assert.match(log, /takes effect with a restart/);
    await c.caughtUp();
    await c.equals('items', 'select id, kind, case kind when 4 then n * 3 else n end as n from items');
    fs.writeFileSync(config, '{ not a configuration');
    assert.match(await deploy(w, w.service.sync), /The configuration cannot be read again/);
    fs.writeFileSync(config, text);
    await deploy(w, w.service.sync);
  });

  test('a changed file and a restart are the same deploy', async () => {
    const before = new Map(c.seen.ops);
    await w.service.stop();
    write(w, ten({ 4: 'SELECT id, kind, n * 3 AS n FROM items WHERE kind = 4', 5: 'SELECT id, kind, n * 5 AS n FROM items WHERE kind = 5' }));
    await w.service.start();
    await eventually(() => /Activated/.test(w.service.freshLog), { what: () => `activation; the log ends:\n${w.service.tail()}` });
    await c.caughtUp();
    assert.equal([...c.seen.ops].filter(([n, count]) => before.get(n) !== count).length, 1, 'one definition came new');
    await c.equals('items', 'select id, kind, case kind when 4 then n * 3 when 5 then n * 5 else n end as n from items');
  });
});

describe('names, order and priorities', () => {
  let w, c, sdk;
  const a = (name = 'a', more) => stream(name, 'SELECT id, owner, n FROM items WHERE owner = auth.user_id()', more);
  const b = (name = 'b', more) => stream(name, 'SELECT id, body FROM notes', more);
  before(async () => {
    w = await World.started({ name: 'names', schema: SCHEMA, sync: EDITION3 + a('first') + a('second') + b() });
    await fill(w, 30);
    await w.q(`insert into notes select 'n' || i, 'user1', 'x' from generate_series(1, 20) i`);
    c = w.client();
    c.seen = watch(c);
    await c.caughtUp();
    sdk = await Sdk.open(w, { tables: { notes: { body: 'text' }, items: { n: 'integer' } } });
    await sdk.synced();
  });
  after(async () => {
    await sdk?.close();
    await w?.destroy();
  });
  const nothingCame = async (sync) => {
    const ops = c.fold.ops, buckets = names(c), lines = c.seen.lines.length;
    await deploy(w, EDITION3 + sync);
    await c.caughtUp();
    assert.equal(c.fold.ops, ops, 'no operation');
    assert.deepEqual(names(c), buckets, 'no bucket is renamed');
    assert.equal(c.seen.opened, 1);
    return c.seen.lines.slice(lines);
  };

  test('the first of two sharing streams is renamed', async () => {
    assert.deepEqual(names(c), ['1#first|0["user1"]', '2#b|0[]']);
    assert.ok((await nothingCame(a('renamed') + a('second') + b())).includes('checkpoint'), 'other streams: a full line');
  });

  test('the first of two sharing streams is removed', async () => {
    await nothingCame(a('second') + b());
  });

  test('the file is put into another order', async () => {
    await nothingCame(b() + a('second'));
  });

  test('another priority is seen without reconnecting', async () => {
    assert.ok((await nothingCame(b('b', { priority: 1 }) + a('second'))).includes('checkpoint'));
    assert.equal(c.fold.announced.get('2#b|0[]').priority, 1);
  });

  test('comments make no line at all but those of the requests', async () => {
    const lines = await nothingCame(`# a comment\n${b('b', { priority: 1 })}${a('second')}`);
    assert.ok(!lines.includes('checkpoint'), lines.join());
  });

  test('the SDK went through all of that on one stream, and still follows', async () => {
    await w.q(`update notes set body = 'seen' where id = 'n7'`);
    await sdk.until(`select body from notes where id = 'n7'`, [], (r) => r?.body === 'seen');
    await sdk.equals('notes', ['id', 'body'], 'select id, body from notes');
    await sdk.equals('items', ['id', 'n'], `select id, n from items where owner = 'user1'`);
    assert.equal(sdk.calls.filter((x) => x.route === '/sync/stream').length, 1);
    assert.deepEqual(sdk.errors, []);
  });

  test('a stream that goes takes its bucket along, in a diff or a full line', async () => {
    await deploy(w, EDITION3 + a('second'));
    await c.caughtUp();
    assert.deepEqual(names(c), ['1#first|0["user1"]']);
    assert.equal(c.fold.rows('notes').size, 0);
  });
});
