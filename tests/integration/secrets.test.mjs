// A noisy run says nothing that lets anybody in.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { temporaryFolder } from '../lib/service.mjs';
import { request } from '../lib/stream.mjs';
import { AUDIENCE, keys, sign } from '../lib/token.mjs';
import { freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const BODY = 'Words-of-a-body';

test('no password, key or token gets into the log, an answer or a command', async () => {
  const password = 'Pa55word-of-the-source';
  const admin = 'T0ken-of-the-admin';
  const metrics = await freePort();
  const w = await World.create({
    name: 'secrets',
    schema: `create table lists(id text primary key, name text); insert into lists values ('l1', 'Row-data-of-a-user')`,
    sync: 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n',
    env: { PS_LOG_LEVEL: 'silly' },
    config: { api: { tokens: [admin] }, telemetry: { disable_telemetry_sharing: true, prometheus_port: metrics }, client_auth: { audience: [AUDIENCE], jwks: keys(), supabase: true, supabase_jwt_secret: 'S3cret-of-supabase' } }
  });
  const uri = new URL(w.sourceUri);
  uri.password = password;
  w.service.sourceUri = uri.href;
  const tokens = [sign('user1'), sign('user2', { claims: { aud: 'x' } }), sign('user3', { key: Buffer.from('k'.repeat(32)) }), `${sign('user4')}x`];
  let answers = '';
  try {
    await w.service.start();
    await w.service.ready();
    for (const token of tokens) {
      const r = await w.request('POST', '/sync/checkpoint-request', { token, body: { client_id: 'c', checkpoint_request_id: '1' } });
      answers += r.text;
    }
    await (await w.stream({ token: tokens[0] })).waitFor((l) => l.checkpoint_complete, 5000);
    for (const [method, route] of [['POST', '/api/admin/v1/diagnostics'], ['POST', '/api/admin/v1/schema'], ['GET', '/api/sync-rules/v1/current'], ['GET', `/api/sync-rules/v1/current?token=x`]]) {
      for (const token of [admin, 'wrong-admin-token']) answers += (await w.request(method, route, { token })).text;
    }
    // Bodies: complete, cut short, and of the wrong shape. Their own words may come back to who sent them, but not into the log.
    const bodies = ['/api/admin/v1/execute-sql', '/api/admin/v1/validate', '/api/sync-rules/v1/deploy', '/sync/checkpoint-request', '/sync/stream'];
    for (const route of bodies)
      for (const body of [`{"sql":{"query":"select $1","args":["${BODY}"]},"content":"${BODY}","client_id":7,"parameters":"${BODY}"}`, `{"content":"${BODY}`, `"${BODY}"`])
        for (const token of [admin, tokens[0], tokens[3]])
          await fetch(`${w.url}${route}`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, body }).then((r) => r.body?.cancel());
    answers += (await request(`http://127.0.0.1:${metrics}`, 'GET', '/metrics')).text;
    assert.match(answers, /powersync_concurrent_connections/);
    await w.admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()', [w.database]);
    await w.service.stop();
    for (const command of [['check'], ['check', '--json'], ['config', 'show'], ['test-connection'], ['validate', '--source']]) {
      const r = await syncline(command, { config: w.service.configPath });
      answers += r.out + r.err;
    }
    // and when it goes wrong
    const config = JSON.parse(fs.readFileSync(w.service.configPath));
    config.replication.connections[0].uri = uri.href.replace(w.database, 'no_such_database');
    fs.writeFileSync(w.service.configPath, JSON.stringify(config));
    for (const command of [['check'], ['test-connection']]) answers += Object.values(await syncline(command, { config: w.service.configPath })).join();
    const secrets = [password, admin, 'wrong-admin-token', 'S3cret-of-supabase', keys().keys[0].k, ...tokens, ...tokens.map((t) => t.split('.')[2])];
    for (const s of secrets) {
      assert.ok(!w.service.log.includes(s), `the log holds ${s}:\n${w.service.log.split('\n').find((l) => l.includes(s))}`);
      assert.ok(!answers.includes(s), `an answer or a command says ${s}`);
    }
    assert.ok(!w.service.log.includes(BODY), `the log holds a request's body:\n${w.service.log.split('\n').find((l) => l.includes(BODY))}`);
    assert.ok(!w.service.log.includes('Row-data-of-a-user'), 'the log holds data of a row');
  } finally {
    await w.destroy();
  }
});

// What is wrong in a configuration is named by its place; values at places of secrets are never repeated.
const SECRET = 'Hush-hush-4711';
const uri = `postgresql://someone:${SECRET}@127.0.0.1:1/app`;
const source = (more) => ({ replication: { connections: [{ type: 'postgresql', uri, sslmode: 'disable', ...more }] } });
const broken = {
  'a misspelt key': source({ pasword: SECRET }),
  'a password of the wrong type': source({ password: [SECRET] }),
  'a port that is none in the URI': source({ uri: `postgresql://someone:${SECRET}@127.0.0.1:port/app` }),
  'a URI without a host': source({ uri: `postgresql://someone:${SECRET}@/app` }),
  'a URI of another scheme': source({ uri: `mysql://someone:${SECRET}@127.0.0.1/app` }),
  'tokens that are no list': { api: { tokens: SECRET } },
  'a token that is no text': { api: { tokens: [{ token: SECRET }] } },
  'a key that is not base64': { client_auth: { jwks: { keys: [{ kty: 'oct', alg: 'HS256', k: `${SECRET}!!` }] } } },
  'a key of the wrong kind': { client_auth: { jwks: { keys: [{ kty: 'RSA', alg: 'RS256', d: SECRET, n: SECRET, e: SECRET }] } } },
  'a secret of the wrong type': { client_auth: { supabase: true, supabase_jwt_secret: { secret: SECRET } } },
  'a key URL with a password': { client_auth: { jwks_uri: `ftp://someone:${SECRET}@127.0.0.1/keys` } },
  'a section that is a text': { client_auth: SECRET, api: SECRET }
};

for (const [title, config] of Object.entries(broken))
  test(`no secret is repeated: ${title}`, async () => {
    const dir = temporaryFolder('broken');
    const file = path.join(dir, 'powersync.yaml');
    fs.writeFileSync(file, JSON.stringify({ storage: { type: 'lmdb', path: path.join(dir, 'data') }, client_auth: { audience: ['x'], jwks: keys() }, ...config }));
    for (const command of [['check'], ['check', '--json'], ['config', 'show'], ['test-connection']]) {
      const r = await syncline(command, { config: file });
      assert.ok((r.out + r.err).trim(), `${command.join(' ')} says something`);
      assert.ok(!(r.out + r.err).includes(SECRET), `${command.join(' ')} says:\n${r.out}${r.err}`);
    }
  });
