// What programs that read the log rely on: one record a line, its fields, and ids that tie the lines of a request together.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import { sign } from '../lib/token.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n';
const SCHEMA = `create table lists(id text primary key, name text); insert into lists select 'l' || i, 'list ' || i from generate_series(1, 5) i`;
const ID = /^h\/[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('the log as JSON', () => {
  let w;
  before(async () => {
    w = await World.started({ name: 'logs', schema: SCHEMA, sync: SYNC, config: { system: { logging: { format: 'json' } }, api: { tokens: ['admin-token'] } } });
  });
  after(() => w?.destroy());

  // The boot line comes before the format is known.
  const records = () => w.service.freshLog.split('\n').slice(1, -1).map((l) => JSON.parse(l));
  const find = async (test, what) => {
    await eventually(() => records().some(test), { what });
    return records().find(test);
  };
  const get = (path, headers = {}) =>
    new Promise((resolve, reject) => {
      const r = http.get(`${w.url}${path}`, { headers, agent: false }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode)));
      r.on('error', reject);
    });

  test('what replication says begins with the name of its slot', async () => {
    const [{ slot_name: slot }] = await w.slots();
    const r = await find((x) => /Streaming from the source/.test(x.message), 'the begin of the stream');
    assert.equal(r.message, `[${slot}] Streaming from the source`);
  });

  test('a request leaves one record with its fields', async () => {
    await get('/probes/liveness?from=here');
    const r = await find((x) => x.path === '/probes/liveness?from=here', 'the record');
    assert.equal(r.message, 'GET /probes/liveness?from=here');
    assert.equal(r.level, 'info');
    assert.equal(r.method, 'GET');
    assert.equal(r.route, '/probes/liveness');
    assert.equal(r.status, 200);
    assert.equal(typeof r.duration_ms, 'number');
    assert.match(r.rid, ID);
    assert.match(r.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(Object.keys(r), Object.keys(r).sort());
  });

  test('a refused request says why under the same id', async () => {
    await w.request('POST', '/api/admin/v1/diagnostics', { token: 'wrong', body: {} });
    const failed = await find((x) => x.route === '/api/admin/v1/diagnostics' && x.level === 'error', 'the failure');
    assert.equal(failed.message, 'Request failed [PSYNC_S2101] Authorization failed');
    assert.equal(failed.name, 'AuthorizationError');
    const done = await find((x) => x.rid === failed.rid && x.status, 'the request');
    assert.equal(done.status, 401);
    await w.request('POST', '/sync/stream', { token: sign('u', { claims: { aud: 'elsewhere' } }), body: {} });
    const refused = await find((x) => /PSYNC_S2105/.test(x.message), 'the refused token');
    assert.match(refused.tokenDetails, /^<header: .* payload: .*elsewhere.*>$/);
    assert.match(refused.configurationDetails, /^keys: \[<kid: .*>\], audience: \[.+\]/);
    assert.deepEqual(Object.keys(refused.errorData), ['code', 'description', 'name']);
    assert.deepEqual([refused.errorData.code, refused.errorData.name], ['PSYNC_S2105', 'AuthorizationError']);
  });

  test('secrets in a URL, and bytes that are not text, do not get into it', async () => {
    await get('/nothing?access_token=hush-hush&a=1', { 'user-agent': Buffer.from([0x61, 0xff, 0x62]).toString('latin1') });
    const r = await find((x) => x.path?.startsWith('/nothing'), 'the record');
    assert.equal(r.path, '/nothing?access_token=***&a=1');
    assert.equal(r.status, 404);
    assert.ok(!('route' in r));
    assert.ok(!w.service.log.includes('hush-hush'));
  });

  test('a stream is told at its begin and its end, with who it is', async () => {
    const parameters = Object.fromEntries([['long', 'x'.repeat(150)], ['list', [1]], ...Array.from({ length: 20 }, (_, i) => [`p${i}`, i])]);
    const c = w.client({ user: 'alice', body: { parameters, app_metadata: { version: '1.2' } } });
    await c.synced();
    const started = await find((x) => x.message === 'Sync stream started' && x.user_id === 'alice', 'the begin');
    assert.match(started.rid, ID);
    assert.equal(started.route, '/sync/stream');
    assert.equal(started.client_id, c.id);
    assert.equal(started.bson, false);
    assert.deepEqual(started.app_metadata, { version: '1.2' });
    assert.equal(started.client_params.long, `${'x'.repeat(100)}...`);
    assert.match(started.client_params.list, /^\[1/);
    assert.equal(Object.keys(started.client_params).length, 21);
    assert.equal(started.client_params['...'], 2);
    c.close();
    const complete = await find((x) => x.message === 'Sync stream complete' && x.rid === started.rid, 'the end');
    assert.equal(complete.operations_synced, 5);
    assert.deepEqual(complete.operation_counts, { put: 5, remove: 0, move: 0, clear: 0 });
    assert.deepEqual(complete.large_buckets, {});
    assert.ok(complete.data_synced_bytes > 100 && complete.stream_ms >= 0);
    assert.equal(complete.close_reason, 'client closing stream');
  });

  test('large buckets are named at the end of a stream', async () => {
    await w.q(`insert into lists select 'm' || i, '' from generate_series(1, 10000) i`);
    const c = w.client({ user: 'large' });
    await c.caughtUp();
    c.close();
    const r = await find((x) => x.message === 'Sync stream complete' && x.user_id === 'large', 'the end');
    assert.deepEqual(Object.entries(r.large_buckets).map(([name, n]) => [name.replace(/^\d+#/, ''), n]), [['all[]', 10005]]);
  });
});
