// Tokens of keys that a URL gives: over restarts, and from addresses that are refused.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { AUDIENCE, keys } from '../lib/token.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n';
const SCHEMA = `create table lists(id text primary key, name text); insert into lists select 'l' || i, 'list ' || i from generate_series(1, 5) i`;

const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
function signEC(sub) {
  const now = Math.floor(Date.now() / 1000);
  const text = [{ alg: 'ES256', kid: 'remote' }, { sub, aud: AUDIENCE, iat: now, exp: now + 600 }].map((v) => Buffer.from(JSON.stringify(v)).toString('base64url')).join('.');
  return `${text}.${crypto.sign('sha256', Buffer.from(text), { key: pair.privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

describe('keys of a URL', () => {
  let w, server, answers;
  const jwks = JSON.stringify({ keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'remote' }] });
  before(async () => {
    answers = { '/jwks': (r) => r.end(jwks), '/away': (r) => r.writeHead(302, { location: `http://127.0.0.2:${server.address().port}/jwks` }).end() };
    server = http.createServer((q, r) => (answers[q.url] ?? ((x) => x.writeHead(404).end()))(r));
    await new Promise((resolve) => server.listen(0, '0.0.0.0', resolve));
    const url = `http://hidden:hush-hush@127.0.0.1:${server.address().port}/jwks`;
    w = await World.started({ name: 'jwks', schema: SCHEMA, sync: SYNC, config: { client_auth: { audience: [AUDIENCE], jwks_uri: url, jwks: keys() } } });
  });
  after(async () => {
    server?.close();
    await w?.destroy();
  });
  const status = async () => {
    const s = await w.request('GET', '/write-checkpoint2.json', { token: signEC('u') });
    return s.status;
  };

  test('are kept over a restart while the URL is down', async () => {
    assert.equal(await status(), 200);
    const folder = path.join(w.service.dir, 'data');
    await eventually(() => fs.readdirSync(folder).some((f) => /^jwks-.*\.keys$/.test(f)), { what: 'the kept keys' });
    await w.service.stop();
    answers['/jwks'] = (r) => r.writeHead(500).end();
    await w.service.start();
    await w.service.ready();
    assert.equal(await status(), 200);
    await eventually(() => /PSYNC_S2204/.test(w.service.freshLog), { what: 'the failed fetch in the log' });
    assert.equal(await status(), 200);
    assert.ok(!w.service.log.includes('hush-hush'), 'the password of the URL is not logged');
  });

  test('count for nothing without the file', async () => {
    await w.service.stop();
    const folder = path.join(w.service.dir, 'data');
    for (const f of fs.readdirSync(folder)) if (/^jwks-/.test(f)) fs.rmSync(path.join(folder, f));
    await w.service.start();
    await w.service.ready();
    assert.equal(await status(), 401);
  });

  test('that does not answer at start are warned of before a client is refused, once', async () => {
    await w.service.stop();
    await w.service.start();
    await w.service.ready();
    const lines = () => w.service.freshLog.split('\n').filter((l) => l.includes('JWKS'));
    await eventually(() => lines().length, { what: () => `the warning in the log:\n${w.service.freshLog}` });
    assert.match(lines()[0], /warn.*JWKS 127\.0\.0\.1:\d+\/jwks: \[PSYNC_S2204\] JWKS request failed: .*500/i);
    await eventually(async () => (await status()) === 401 && lines().some((l) => /error/i.test(l)), { what: () => `a token asked again:\n${lines().join('\n')}` });
    assert.equal(lines().filter((l) => /warn/i.test(l)).length, 1);
    assert.ok(!w.service.log.includes('hush-hush'), 'the password of the URL is not logged');
  });

  test('that answers at start cost the first token nothing, and no line', async () => {
    await w.service.stop();
    let asked = 0;
    answers['/jwks'] = (r) => (asked++, r.end(jwks));
    await w.service.start();
    await w.service.ready();
    await eventually(() => asked === 1, { what: 'the URL is asked without a token' });
    assert.equal(await status(), 200);
    assert.equal(asked, 1);
    assert.ok(!w.service.freshLog.includes('JWKS'), w.service.freshLog);
  });

  test('are not fetched from a refused address, also not behind a redirect', async () => {
    answers['/jwks'] = (r) => r.end(jwks);
    const port = server.address().port;
    const check = async (client_auth) => {
      const config = path.join(w.service.dir, 'other.yaml');
      fs.writeFileSync(config, JSON.stringify({ storage: { type: 'lmdb', path: 'other' }, client_auth: { audience: [AUDIENCE], ...client_auth } }));
      return syncline(['auth-check', '--json', '-'], { config, input: signEC('u') });
    };
    const away = `http://127.0.0.1:${port}/away`;
    assert.equal((await check({ jwks_uri: away })).code, 0);
    const refused = await check({ jwks_uri: away, jwks_reject_ip_ranges: ['127.0.0.2/32'] });
    assert.equal(refused.code, 1);
    assert.equal(refused.json.error.code, 'PSYNC_S2204');
    assert.match(refused.err, /PSYNC_S2203.*127\.0\.0\.2/);
    assert.equal((await check({ jwks_uri: away, jwks_reject_ip_ranges: ['local'] })).code, 150);
    const named = await check({ jwks_uri: `http://localhost:${port}/jwks`, block_local_jwks: true });
    assert.equal(named.json.error.code, 'PSYNC_S2204');
  });
});
