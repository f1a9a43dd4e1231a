// A noisy run says nothing that lets anybody in.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { request } from '../lib/stream.mjs';
import { AUDIENCE, keys, sign } from '../lib/token.mjs';
import { freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

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
    assert.ok(!w.service.log.includes('Row-data-of-a-user'), 'the log holds data of a row');
  } finally {
    await w.destroy();
  }
});
