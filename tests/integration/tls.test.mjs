// TLS on the port: probes, a stream, WebSocket upgrade, and the list of connections with a client that does not read.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import path from 'node:path';
import tls from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { sign } from '../lib/token.mjs';
import { eventually, freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const ADMIN = 'admin-secret';
const SYNC = 'bucket_definitions:\n  rows:\n    data:\n      - SELECT * FROM rows\n';

describe('TLS', () => {
  let w, ca, port;
  before(async () => {
    port = await freePort();
    w = await World.create({
      name: 'tls',
      schema: "create table rows(id int primary key, body text); insert into rows select i, repeat(md5(i::text), 100) from generate_series(1, 5000) i;",
      sync: SYNC,
      config: { port, api: { tokens: [ADMIN] }, tls: { certificate: 'server.crt', private_key: 'server.key' } }
    });
    const dir = w.service.dir;
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=DNS:localhost', '-keyout', path.join(dir, 'server.key'), '-out', path.join(dir, 'server.crt')], { stdio: 'ignore' });
    ca = fs.readFileSync(path.join(dir, 'server.crt'));
    await w.service.start();
  });
  after(() => w?.destroy());

  function call(method, route, { token, body } = {}) {
    return new Promise((resolve, reject) => {
      const headers = { ...(token && { authorization: token }), ...(body && { 'content-type': 'application/json' }) };
      const r = https.request({ host: 'localhost', port, path: route, method, headers, ca, family: 4 }, (answer) => {
        let text = '';
        answer.on('data', (d) => {
          text += d;
          if (text.includes('checkpoint_complete')) r.destroy();
        });
        answer.on('close', () => resolve({ status: answer.statusCode, text }));
      });
      r.on('error', reject);
      r.end(body);
    });
  }

  function open(text) {
    return new Promise((resolve, reject) => {
      const s = tls.connect({ host: '127.0.0.1', servername: 'localhost', port, ca }, () => {
        s.write(text);
        resolve(s);
      });
      s.once('error', reject);
    });
  }

  test('probes and a whole first sync', async () => {
    await eventually(async () => (await call('GET', '/probes/startup').catch(() => ({}))).status === 200);
    await eventually(async () => {
      const r = await call('POST', '/sync/stream', { token: `Token ${sign('u1')}`, body: '{"raw_data":true}' });
      return r.status === 200 && r.text.match(/"op":"PUT"/g)?.length === 5000;
    }, { timeout: 30000 });
  });

  test('pull with the configuration of the service', async () => {
    const r = await syncline(['pull', '--token', '-', '--stats'], { config: w.service.configPath, input: sign('u1') });
    assert.equal(r.code, 0, r.err);
    assert.equal(r.lines.length, 5000);
  });

  test('a WebSocket upgrade', async () => {
    const s = await open('GET /sync/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
    const [data] = await new Promise((resolve) => s.once('data', (...a) => resolve(a)));
    assert.match(data.toString(), /^HTTP\/1\.1 101 /);
    s.destroy();
  });

  test('a client that does not read is seen', async () => {
    const s = await open(`POST /sync/stream HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token ${sign('sleeper')}\r\nContent-Type: application/json\r\n` +
      'Content-Length: 2\r\n\r\n{}');
    s.pause();
    await eventually(async () => {
      const r = await call('GET', '/api/admin/v1/connections', { token: `Bearer ${ADMIN}` });
      const found = JSON.parse(r.text).data.connections.find((c) => c.stream?.user_id === 'sleeper');
      return found?.unsent_bytes > 0 && found.unacknowledged_bytes > 0 && found.kind === 'stream' && found.tls;
    });
    s.destroy();
    assert.equal((await call('GET', '/api/admin/v1/connections')).status, 401);
  });

  test('plain HTTP gets no answer', async () => {
    await assert.rejects(fetch(`http://127.0.0.1:${port}/probes/startup`));
  });
});
