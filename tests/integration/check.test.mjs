// `syncline check` names everything that commonly goes wrong: each test breaks one thing and reads the line about it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { temporaryFolder } from '../lib/service.mjs';
import { AUDIENCE, keys } from '../lib/token.mjs';
import { freePort } from '../lib/util.mjs';
import { Postgres, World } from '../lib/world.mjs';

const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, name FROM lists\n';
const SCHEMA = 'create table lists(id text primary key, name text); create table keyless(id text); create schema hidden; create table hidden.notes(id text primary key)';

describe('syncline check', () => {
  let postgres, w, port;
  before(async () => {
    postgres = await Postgres.start('max_replication_slots = 2', 'max_wal_senders = 2', 'password_encryption = scram-sha-256');
    w = await World.create({ name: 'check', schema: SCHEMA, postgres });
    // A superuser is the server's own; the service's role is one as documented.
    await w.q(`create role plain login replication password 'right'`);
    await w.q('grant select on all tables in schema public to plain');
    await w.q(`create role weak login password 'right'`);
    await w.q('grant select on all tables in schema public to weak');
    port = new URL(postgres.uri).port;
  });
  after(async () => {
    await w?.destroy();
    await postgres?.stop();
  });

  const connection = (change) => ({ type: 'postgresql', hostname: '127.0.0.1', port: Number(port), database: w.database, username: 'plain', password: 'right', sslmode: 'disable', ...change });
  const source = (change) => ({ replication: { connections: [connection(change)] } });

  /** Runs check on a usual configuration with `change` over it; `dir` is its folder. Answers the result with find(). */
  async function check(change = {}, { dir = temporaryFolder('check'), sync = SYNC, extra = '' } = {}) {
    const config = path.join(dir, 'powersync.yaml');
    const whole = { ...source(), storage: { type: 'lmdb', path: 'store' }, port: await freePort(), sync_config: { path: 'sync.yaml' }, client_auth: { audience: [AUDIENCE], jwks: keys() }, api: { tokens: ['t'] }, ...change };
    for (const k of Object.keys(whole)) if (whole[k] === undefined) delete whole[k];
    fs.writeFileSync(config, Object.entries(whole).map(([k, v]) => `${k}: ${JSON.stringify(v)}\n`).join('') + extra);
    if (sync !== null) fs.writeFileSync(path.join(dir, 'sync.yaml'), sync);
    const r = await syncline(['check', '--json'], { config, cwd: dir });
    r.find = (subject, pattern) => r.json.checks.find((c) => c.subject === subject && pattern.test(c.message)) ?? assert.fail(`no line of ${subject} with ${pattern}:\n${r.out}${r.err}`);
    assert.equal(r.code, r.json.errors ? 1 : 0, r.out);
    assert.ok(!r.out.includes('right') && !r.err.includes('right'), 'no password');
    return r;
  }
  const undone = async (broken, mended, body) => {
    await w.q(broken);
    try {
      return await body();
    } finally {
      await w.q(mended);
    }
  };

  test('finds no fault in a sound set-up', async () => {
    const r = await check();
    assert.deepEqual(r.json.checks.filter((c) => !['ok', 'note'].includes(c.status)), []);
    assert.equal(r.code, 0);
  });

  const configuration = [
    ['an unknown key', {}, 'sytem: {}\n', /powersync\.yaml:\d+:1: sytem is not a known key and is ignored; did you mean "system"\?/, 'error'],
    ['a key without effect', { metadata: { region: 'eu' } }, '', /metadata has no effect/, 'warning'],
    ['closed admin routes', { api: {} }, '', /api\.tokens is empty/, 'note'],
    ['tokens for development', { client_auth: { audience: [AUDIENCE], jwks: keys(), development_tokens: true } }, '', /development_tokens is on/, 'warning']
  ];
  for (const [title, change, extra, pattern, status] of configuration) {
    test(`configuration: ${title}`, async () => assert.equal((await check(change, { extra })).find('configuration', pattern).status, status));
  }

  test('keys: none, no audience, an unusable one, a URL that does not answer', async () => {
    assert.equal((await check({ client_auth: { audience: [AUDIENCE] } })).find('keys', /there are no keys/).status, 'error');
    assert.equal((await check({ client_auth: { jwks: keys() } })).find('keys', /audience is empty/).status, 'error');
    const bad = { kty: 'EC', kid: 'k', crv: 'P-256', alg: 'ES256', x: 'AAAA', y: 'AAAA' };
    assert.equal((await check({ client_auth: { audience: ['a'], jwks: { keys: [bad] } } })).find('keys', /client_auth\.jwks\.keys\[0\]/).status, 'error');
    const dead = await check({ client_auth: { audience: ['a'], jwks_uri: `http://127.0.0.1:${await freePort()}/keys` } });
    assert.equal(dead.find('keys', /PSYNC_S2204/).status, 'error');
  });

  test('storage: a type of another build, a path that is no folder, one in use', async () => {
    assert.equal((await check({ storage: { type: 'lmdb', path: 'sync.yaml' } })).find('storage', /is not a folder/).status, 'error');
    assert.equal((await check({ storage: { type: 'lmdb', path: 'sync.yaml/below' } })).find('storage', /cannot be/).status, 'error');
    const mongo = await check({ storage: { type: 'mongodb', uri: 'mongodb://127.0.0.1/x' } });
    assert.equal(mongo.find('storage', /'mongodb' is not supported/).status, 'error');
  });

  test('ports: taken, impossible, the same twice', async () => {
    const holder = net.createServer();
    const taken = await new Promise((resolve) => holder.listen(0, '0.0.0.0', () => resolve(holder.address().port)));
    try {
      assert.equal((await check({ port: taken })).find('ports', new RegExp(`^port ${taken}: Address already in use`)).status, 'error');
      const metrics = await check({ telemetry: { disable_telemetry_sharing: true, prometheus_port: taken } });
      assert.equal(metrics.find('ports', new RegExp(`^telemetry.prometheus_port ${taken}: `)).status, 'error');
    } finally {
      holder.close();
    }
    assert.equal((await check({ port: 70000 })).find('ports', /70000 is no port/).status, 'error');
    const free = await freePort();
    assert.equal((await check({ port: free, telemetry: { disable_telemetry_sharing: true, prometheus_port: free } })).find('ports', /are both/).status, 'error');
    assert.equal((await check({ tls: { certificate: 'no.pem', private_key: 'no.pem' } })).find('ports', /no\.pem/).status, 'error');
  });

  test('sync config: missing, not readable, a column or table that is not there, another connection', async () => {
    assert.equal((await check({}, { sync: null })).find('sync config', /sync\.yaml/).status, 'error');
    assert.equal((await check({}, { sync: 'bucket_definitions: 7\n' })).find('sync config', /sync\.yaml:1:/).status, 'error');
    assert.equal((await check({}, { sync: SYNC.replace('name', 'nme') })).find('sync config', /sync\.yaml:4:\d+: .*nme/).status, 'error');
    assert.equal((await check({}, { sync: SYNC.replace('lists', 'listz') })).find('tables', /Table "public"."listz" not found/).status, 'warning');
    assert.equal((await check({}, { sync: SYNC.replace('lists', '"other.public".lists') })).find('tables', /no connection has the tag other/).status, 'error');
    assert.equal((await check({ sync_config: undefined })).find('sync config', /names none/).status, 'note');
  });

  test('source: none, not there, another database, a wrong password, TLS that the server does not have, a refused address', async () => {
    assert.equal((await check({ replication: undefined })).find('source', /names no source/).status, 'warning');
    assert.equal((await check(source({ port: await freePort() }))).find('source', /cannot connect to 127\.0\.0\.1:\d+\/.*refused/i).status, 'error');
    assert.equal((await check(source({ database: 'nowhere' }))).find('source', /database "nowhere" does not exist/).status, 'error');
    const tls = (await check(source({ sslmode: undefined }))).find('source', /SSL/);
    assert.match(tls.fix, /sslmode: disable/);
    assert.equal((await check(source({ hostname: 'localhost', reject_ip_ranges: ['local'] }))).find('source', /the address of "localhost" is in reject_ip_ranges/).status, 'error');
    const hba = path.join(postgres.folder, 'data', 'pg_hba.conf');
    const before = fs.readFileSync(hba, 'utf8');
    fs.writeFileSync(hba, `host all plain 127.0.0.1/32 scram-sha-256\n${before}`);
    await w.q('select pg_reload_conf()');
    try {
      const wrong = (await check(source({ password: 'wrong' }))).find('source', /password authentication failed/);
      assert.equal(wrong.status, 'error');
      assert.match(wrong.fix, /percent-decoded/);
    } finally {
      fs.writeFileSync(hba, before);
      await w.q('select pg_reload_conf()');
    }
  });

  test('rights: a role that may not replicate, a table that it may not read, row level security', async () => {
    const weak = (await check(source({ username: 'weak' }))).find('source', /weak cannot replicate: .*/);
    assert.equal(weak.status, 'error');
    assert.match(weak.fix, /ALTER ROLE "weak" REPLICATION/);
    const unreadable = await undone('revoke select on lists from plain', 'grant select on lists to plain', () => check());
    assert.equal(unreadable.find('tables', /permission denied/i).status, 'error');
    const hidden = await check({}, { sync: SYNC.replace('id, name FROM lists', 'id FROM hidden.notes') });
    assert.equal(hidden.find('tables', /permission denied/i).status, 'error');
    const secured = await undone('alter table lists enable row level security', 'alter table lists disable row level security', () => check());
    assert.match(secured.find('tables', /PSYNC_S1145/).message, /BYPASSRLS/);
  });

  test('tables: no replica identity, not in the publication', async () => {
    const keyless = await check({}, { sync: SYNC.replace('id, name FROM lists', 'id FROM keyless') });
    assert.equal(keyless.find('tables', /No replication id found for "public"."keyless"/).status, 'error');
    const without = await undone('alter publication powersync rename to aside; create publication powersync for table keyless', 'drop publication powersync; alter publication aside rename to powersync', () => check());
    assert.equal(without.find('tables', /ALTER PUBLICATION powersync ADD TABLE "public"."lists"/).status, 'error');
  });

  test('publication: missing, not of all changes, by the partition root', async () => {
    const missing = await undone('alter publication powersync rename to aside', 'alter publication aside rename to powersync', () => check());
    assert.match(missing.find('source', /PSYNC_S1141/).fix, /CREATE PUBLICATION powersync/);
    const part = await undone(`alter publication powersync set (publish = 'insert')`, `alter publication powersync set (publish = 'insert, update, delete, truncate')`, () => check());
    assert.match(part.find('source', /PSYNC_S1142/).fix, /publish = 'insert, update, delete, truncate'/);
    const root = await undone('alter publication powersync set (publish_via_partition_root = true)', 'alter publication powersync set (publish_via_partition_root = false)', () => check());
    assert.match(root.find('source', /PSYNC_S1143/).fix, /publish_via_partition_root = false/);
  });

  test('slots and WAL senders: none left, unless they are its own', async () => {
    const dir = temporaryFolder('check-slots');
    const full = await undone(
      `select pg_create_logical_replication_slot('a', 'pgoutput'), pg_create_logical_replication_slot('b', 'pgoutput')`,
      `select pg_drop_replication_slot('a'), pg_drop_replication_slot('b')`, () => check({}, { dir }));
    const none = full.find('source', /no replication slot is left: 2 of 2 are used/);
    assert.equal(none.status, 'error');
    assert.match(none.fix, /raise max_replication_slots/);

    w.service.config = { ...source(), storage: { type: 'lmdb', path: path.join(dir, 'store') } };
    w.service.sync = SYNC;
    await w.service.start();
    await w.service.ready();
    await w.q(`select pg_create_logical_replication_slot('a', 'pgoutput')`);
    try {
      const beside = await check({ port: w.service.port }, { dir });
      assert.equal(beside.find('source', /no replication slot is left.*one of them by this service/).status, 'note');
      assert.equal(beside.find('storage', /is in use by process/).status, 'note');
      assert.equal(beside.code, 0, beside.out);
    } finally {
      await w.service.stop();
      await w.q(`select pg_drop_replication_slot('a')`);
    }
  });

  test('wal_level, and a limit on what slots may hold back', async () => {
    await w.dropSlots();
    await w.q('alter system set wal_level = replica');
    await w.q(`alter system set max_slot_wal_keep_size = '64MB'`);
    await postgres.restart();
    const level = await check();
    assert.match(level.find('source', /wal_level is 'replica'/).fix, /ALTER SYSTEM SET wal_level = logical/);
    assert.equal(level.find('source', /max_slot_wal_keep_size is 64 MB/).status, 'note');
  });
});
