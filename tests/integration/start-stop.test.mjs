// Configuration errors, warnings, probes, and an orderly end.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { BINARY, Service, temporaryFolder } from '../lib/service.mjs';
import { sign } from '../lib/token.mjs';
import { eventually, freePort, sleep, stuckAt } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n';
const SCHEMA = `create table lists(id text primary key, name text); insert into lists select 'l' || i, 'list ' || i from generate_series(1, 50) i`;

describe('a bad configuration ends with exit code 150 and names its place', () => {
  const start = (yaml, name = 'powersync.yaml', args = ['start', '-c', name]) => {
    const dir = temporaryFolder('config');
    if (yaml !== undefined) fs.writeFileSync(path.join(dir, name), yaml);
    const r = spawnSync(BINARY, args, { cwd: dir, encoding: 'utf8', timeout: 10000, env: { ...process.env, POWERSYNC_CONFIG_PATH: '' } });
    return { code: r.status, text: r.stdout + r.stderr };
  };
  const cases = [
    ['a missing file', undefined, [/powersync\.yaml/]],
    ['YAML that does not parse', 'port: 8080\nclient_auth: [1, 2\n', [/line|3|2/]],
    ['a wrong type', 'port: 8080\napi:\n  parameters:\n    max_concurrent_connections: many\n', [/max_concurrent_connections/, /\b4\b/]],
    ['a value outside the list', 'system:\n  logging:\n    level: loud\n', [/level/, /\b3\b/, /info/]],
    ['a section that is null', 'port: 8080\nclient_auth:\n', [/client_auth/, /\b2\b/]],
    ['a retention of zero', 'api:\n  parameters:\n    checkpoint_request_retention_minutes: 0\n', [/checkpoint_request_retention_minutes/]],
    ['a source without a password', 'replication:\n  connections:\n    - type: postgresql\n      uri: postgresql://u@127.0.0.1:5432/db\n', [/PSYNC_S1108/]],
    ['two sources', 'replication:\n  connections:\n    - {type: postgresql, uri: "postgresql://u:p@h/d"}\n    - {type: postgresql, uri: "postgresql://u:p@h/d"}\n', [/connections/]],
    ['an environment variable that is not set', 'port: !env PS_SURELY_NOT_SET\n', [/PS_SURELY_NOT_SET/]],
    ['the same key twice', 'port: 8080\nport: 8081\n', [/port/, /\b2\b/]]
  ];
  for (const [title, yaml, patterns] of cases) {
    test(title, () => {
      const r = start(yaml);
      assert.equal(r.code, 150, r.text);
      for (const p of patterns) assert.match(r.text, p);
      assert.ok(r.text.trim().split('\n').length <= 8, `few lines, not a dump:\n${r.text}`);
    });
  }
});

describe('a running service', () => {
  let w;
  before(async () => {
    w = await World.started({ name: 'life', schema: SCHEMA, sync: SYNC, config: { telemetry: { disable_telemetry_sharing: true }, api: { tokns: ['x'] } } });
  });
  after(() => w?.destroy());

  test('answers the three probes', async () => {
    for (const route of ['startup', 'readiness', 'liveness']) {
      const r = await w.request('GET', `/probes/${route}`);
      assert.equal(r.status, 200, `${route}: ${r.text}`);
      assert.equal(r.json.ready, true);
      assert.equal(r.json.started, true);
      assert.ok(Date.now() - Date.parse(r.json.touched_at) < 10000, r.text);
    }
  });

  test('warned of an unknown key, with its path', () => {
    assert.match(w.service.log, /api\.tokns/);
  });

  test('refuses a second process on the same store', async () => {
    const second = new Service({ dir: temporaryFolder('second'), sourceUri: w.sourceUri, sync: SYNC, config: { storage: { type: 'lmdb', path: path.join(w.service.dir, 'data') } } });
    await second.start();
    const end = await second.exited();
    assert.equal(end.code, 150, second.tail());
    assert.match(second.log, /data/);
    assert.equal((await w.request('GET', '/probes/readiness')).status, 200);
  });

  test('refuses a port that is in use', async () => {
    const second = new Service({ dir: temporaryFolder('port'), sourceUri: w.sourceUri, sync: SYNC });
    second.port = w.service.port;
    await second.start();
    assert.equal((await second.exited()).code, 150, second.tail());
    assert.match(second.log, new RegExp(String(w.service.port)));
  });

  test('ends its streams with the last chunk on SIGTERM, and itself with 0', async () => {
    const idle = await w.client({ user: 'a' }).synced();
    const other = await w.client({ user: 'b' }).synced();
    const began = Date.now();
    await w.service.stop();
    assert.ok(Date.now() - began < 5000);
    await idle.stream.untilEnd(2000);
    await other.stream.untilEnd(2000);
    assert.ok(idle.stream.clean && other.stream.clean, `the response lacks its end: ${idle.stream.error?.message}`);
  });

  test('starts again on what it stored', async () => {
    await w.service.start();
    await w.service.ready();
    const c = await w.client().synced();
    await c.equals('lists', 'select * from lists');
  });
});

test('every line is JSON from the first on when the environment says so', () => {
  const dir = temporaryFolder('boot');
  fs.writeFileSync(path.join(dir, 'powersync.yaml'), 'port: []\n');
  for (const env of [{ NODE_ENV: 'production' }, { PS_LOG_FORMAT: 'json' }]) {
    const r = spawnSync(BINARY, ['start', '-c', 'powersync.yaml'], { cwd: dir, encoding: 'utf8', env: { ...process.env, ...env } });
    assert.equal(r.status, 150);
    const lines = r.stdout.trim().split('\n').map((l) => JSON.parse(l).message);
    assert.match(lines[0], /^Syncline /);
    assert.match(lines.at(-1), /port must be a port number/);
  }
});

describe('a shutdown', () => {
  const big = `create table lists(id text primary key, name text); insert into lists select 'l' || i, repeat('x', 4000) from generate_series(1, 5000) i`;
  let w;
  before(async () => {
    w = await World.started({ name: 'shutdown', schema: big, sync: SYNC });
  });
  after(() => w?.destroy());

  test('is begun by SIGUSR2, too', async () => {
    w.service.child.kill('SIGUSR2');
    assert.deepEqual(await w.service.exited(), { code: 0, signal: null });
    assert.match(w.service.freshLog, /Stopping on SIGUSR2/);
  });

  test('ends at once on a second SIGINT, with exit code 1', async () => {
    await w.service.start();
    await w.service.ready();
    // A client that takes nothing of its download keeps the end waiting.
    const stuck = net.connect(w.service.port, '127.0.0.1');
    stuck.on('error', () => {});
    stuck.write(`POST /sync/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Token ${sign('stuck')}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`);
    stuck.pause();
    await eventually(() => /"user_id":"stuck"/.test(w.service.freshLog), { what: 'the stream is open' });
    await stuckAt(stuck);
    w.service.child.kill('SIGINT');
    await eventually(() => /Stopping on SIGINT/.test(w.service.freshLog), { what: 'the shutdown has begun' });
    w.service.child.kill('SIGINT'); // within the second: the same signal twice
    await sleep(1100);
    w.service.child.kill('SIGINT');
    assert.deepEqual(await w.service.exited(), { code: 1, signal: null });
    stuck.destroy();
  });
});

test('a source that cannot be reached keeps the service alive and is reported', async () => {
  const port = await freePort();
  const s = new Service({ sourceUri: `postgres://u:p@127.0.0.1:${port}/nowhere`, sync: SYNC });
  await s.start();
  await s.listening();
  await eventually(() => s.log.includes('127.0.0.1') || s.log.includes(String(port)), { timeout: 5000, what: 'a line about the source' });
  const r = await fetch(`${s.url}/probes/liveness`);
  assert.equal(r.status, 200);
  assert.ok(!s.log.includes('u:p@'), 'no password in the log');
  await s.stop();
});

test('a missing publication is reported with the statement to run, and healed by it', async () => {
  const w = await World.create({ name: 'nopub', schema: SCHEMA, sync: SYNC, publication: false });
  try {
    await w.service.start();
    await eventually(() => /PSYNC_S1141|create publication/i.test(w.service.log), { timeout: 8000, what: () => `a line about the publication:\n${w.service.tail()}` });
    await w.q('create publication powersync for all tables');
    await w.service.ready(45000);
    await (await w.client().synced()).equals('lists', 'select * from lists');
  } finally {
    await w.destroy();
  }
});
