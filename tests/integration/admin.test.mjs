// The admin routes: tokens, bodies, diagnostics, schema, trying and deploying a sync config (http-api-and-operations 2, 4).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../lib/util.mjs';
import { sign } from '../lib/token.mjs';
import { World } from '../lib/world.mjs';

const ADMIN = 'admin-secret';
const SCHEMA = `
  create table lists(id uuid primary key default gen_random_uuid(), owner varchar(20), tags text[], size real, photo bytea, done bool);
  create table notes(id int primary key, owner text);
  create table keyless(id text);
  insert into lists(owner) select 'u' || i from generate_series(1, 5) i;
  insert into notes values (1, 'u1');`;
const LISTS = 'bucket_definitions:\n  lists:\n    data:\n      - SELECT * FROM lists\n';
const BOTH = `${LISTS}  notes:\n    data:\n      - SELECT * FROM notes\n`;

async function call(w, method, route, body, { token = ADMIN, type = 'application/json', raw } = {}) {
  const r = await fetch(w.url + route, {
    method,
    headers: { ...(token && { authorization: `Bearer ${token}` }), ...(body !== undefined && { 'content-type': type }) },
    body: body === undefined ? undefined : (raw ?? (typeof body === 'string' ? body : JSON.stringify(body)))
  });
  const text = await r.text();
  return { status: r.status, text, type: r.headers.get('content-type'), json: text ? JSON.parse(text) : undefined };
}
const post = (w, route, body, options) => call(w, 'POST', route, body, options);
const deploy = (w, text) => post(w, '/api/sync-rules/v1/deploy', text, { type: 'application/yaml' });

describe('with a sync config in the configuration', () => {
  let w;
  before(async () => {
    w = await World.started({ name: 'admin', schema: SCHEMA, sync: LISTS, config: { api: { tokens: ['other', ADMIN] } } });
  });
  after(() => w?.destroy());

  test('only an admin token opens the routes', async () => {
    const refused = { error: { code: 'PSYNC_S2101', status: 401, description: 'Authorization failed', name: 'AuthorizationError' } };
    for (const token of [null, 'wrong', `${ADMIN}x`, sign('u1')]) {
      for (const [method, route] of [['POST', '/api/admin/v1/diagnostics'], ['POST', '/api/admin/v1/schema'], ['GET', '/api/sync-rules/v1/current']]) {
        const r = await call(w, method, route, undefined, { token });
        assert.equal(r.status, 401, `${route} ${r.text}`);
        assert.deepEqual(r.json, refused);
      }
    }
    assert.equal((await call(w, 'POST', '/api/admin/v1/diagnostics', undefined, { token: 'other' })).status, 200);
    assert.equal((await w.request('POST', '/sync/checkpoint-request', { body: { client_id: 'c', checkpoint_request_id: '1' }, token: ADMIN })).status, 401);
  });

  test('a wrong body is told before a wrong token, another method is another route', async () => {
    const r = await post(w, '/api/admin/v1/validate', {}, { token: 'wrong' });
    assert.equal(r.status, 400);
    assert.equal(r.json.error.details, '[" must have required property \'sync_rules\'"]');
    assert.equal((await post(w, '/api/admin/v1/diagnostics', { sync_rules_content: 'true' })).json.error.details, '["/sync_rules_content: type must be boolean"]');
    assert.equal((await post(w, '/api/sync-rules/v1/validate', {})).json.error.details, '[" must have required property \'content\'"]');
    assert.equal((await post(w, '/api/admin/v1/validate', '{', {})).json.error.code, 'FST_ERR_CTP_INVALID_JSON_BODY');
    assert.equal((await post(w, '/api/admin/v1/validate', LISTS, { type: 'application/yaml' })).status, 415);
    assert.equal((await call(w, 'GET', '/api/admin/v1/diagnostics')).status, 404);
  });

  test('diagnostics of a healthy service', async () => {
    const r = await post(w, '/api/admin/v1/diagnostics', { sync_rules_content: true });
    const { storage } = r.json.data;
    assert.ok(storage.operation_bytes > 0 && storage.row_bytes > 0 && storage.file_bytes > storage.used_bytes, JSON.stringify(storage));
    assert.equal(storage.used_bytes, storage.operation_bytes + storage.parameter_bytes + storage.row_bytes);
    assert.equal(r.status, 200, r.text);
    assert.equal(r.type, 'application/json; charset=utf-8');
    const { connections, active_sync_rules: active, deploying_sync_rules: deploying } = r.json.data;
    const u = new URL(w.sourceUri);
    assert.deepEqual(connections, [{ id: 'default', postgres_uri: `postgresql://${u.host}/${w.database}`, connected: true, errors: [] }]);
    assert.equal(deploying, undefined);
    assert.equal(active.content, LISTS);
    assert.deepEqual(active.errors, []);
    const [stream] = active.connections;
    assert.equal(stream.slot_name, (await w.slots())[0].slot_name);
    assert.equal(stream.initial_replication_done, true);
    assert.match(stream.last_lsn, /^[0-9A-F]{8}\/[0-9A-F]{8}$/);
    assert.ok(Date.now() - Date.parse(stream.last_keepalive_ts) < 15000);
    assert.ok(stream.replication_lag_bytes >= 0);
    assert.equal(stream.wal_status, 'reserved');
    assert.deepEqual(stream.tables, [{ schema: 'public', name: 'lists', replication_id: ['id'], data_queries: true, parameter_queries: false, errors: [] }]);
    assert.equal((await post(w, '/api/admin/v1/diagnostics')).json.data.active_sync_rules.content, undefined);
  });

  test('the schema of the source', async () => {
    const { data } = (await post(w, '/api/admin/v1/schema')).json;
    assert.equal(data.defaultConnectionTag, 'default');
    assert.equal(data.defaultSchema, 'public');
    const tables = data.connections[0].schemas.find((s) => s.name === 'public').tables;
    assert.deepEqual(tables.map((t) => t.name).sort(), ['keyless', 'lists', 'notes']);
    const columns = tables.find((t) => t.name === 'lists').columns;
    const column = (name, sqlite_type, type, pg_type) => ({ name, sqlite_type, internal_type: type, type, pg_type });
    assert.deepEqual(columns, [
      column('id', 2, 'uuid', 'uuid'),
      column('owner', 2, 'character varying(20)', 'varchar'),
      column('tags', 2, 'text[]', 'text[]'),
      column('size', 8, 'real', 'float4'),
      column('photo', 1, 'bytea', 'bytea'),
      column('done', 4, 'boolean', 'bool')
    ]);
  });

  test('a sync config on trial', async () => {
    const text = `${LISTS}      - SELECT id, nothere FROM lists\n      - SELECT * FROM keyless\n      - SELECT * FROM missing\n      - SELECT * FROM "no%"\n`;
    const { data } = (await post(w, '/api/admin/v1/validate', { sync_rules: text })).json;
    const [stream] = data.connections;
    assert.equal(stream.slot_name, '');
    assert.equal(stream.initial_replication_done, false);
    const errors = data.errors.map((e) => `${e.level}: ${e.message}`);
    assert.ok(errors.includes('warning: Table "public"."missing" not found.'), errors.join('\n'));
    assert.ok(errors.some((e) => e.startsWith('fatal: No replication id found for "public"."keyless". Replica identity: default.')), errors.join('\n'));
    const located = data.errors.find((e) => /nothere/.test(e.message));
    assert.equal(text.slice(located.location.start_offset, located.location.end_offset), 'nothere');
    const wild = stream.tables.find((t) => t.pattern);
    assert.deepEqual([wild.pattern, wild.name], ['no%', 'notes']);
    const broken = (await post(w, '/api/admin/v1/validate', { sync_rules: 'a: [' })).json.data;
    assert.deepEqual([broken.connections, broken.errors.length, broken.errors[0].level], [[], 1, 'fatal']);
    assert.ok(Date.parse(broken.errors[0].ts) > 0);
  });

  test('the other validate, pretty-printed', async () => {
    const r = await post(w, '/api/sync-rules/v1/validate', BOTH, { type: 'application/yaml; charset=utf-8' });
    assert.equal(r.status, 200);
    assert.match(r.text, /^\{\n {2}"valid": true,\n/);
    assert.ok(r.text.endsWith('}\n'));
    assert.deepEqual(r.json.source_tables.map((t) => [t.schema, t.pattern, t.wildcard, t.table.name]), [['public', 'lists', false, 'lists'], ['public', 'notes', false, 'notes']]);
    assert.equal(r.json.data_tables.notes.length, 1);
    const bad = await post(w, '/api/sync-rules/v1/validate', { content: 'streams: 1' });
    assert.equal(bad.status, 200);
    assert.equal(bad.json.valid, false);
    assert.ok(bad.json.errors.length >= 1);
  });

  test('a large sync config is read, a large body elsewhere is not', async () => {
    const large = `${LISTS}# ${'x'.repeat(1500000)}\n`;
    assert.equal((await post(w, '/api/sync-rules/v1/validate', large, { type: 'application/yaml' })).json.valid, true);
    assert.equal((await post(w, '/api/admin/v1/validate', { sync_rules: large })).status, 413);
  });

  test('current, and no deploy beside a configured sync config', async () => {
    const r = await call(w, 'GET', '/api/sync-rules/v1/current');
    assert.equal(r.status, 200);
    assert.equal(r.json.data.current.content, LISTS);
    assert.equal(r.json.data.current.valid, true);
    assert.equal(r.json.data.next, null);
    const d = await deploy(w, 'not even [ yaml');
    assert.equal(d.status, 422);
    assert.deepEqual(d.json.error, {
      code: 'PSYNC_S4105', status: 422, description: 'Sync config API disabled', details: 'Update sync config in the service configuration', name: 'ServiceError'
    });
  });

  test('execute-sql is closed without debug_api, and says so in its own way', async () => {
    const r = await post(w, '/api/admin/v1/execute-sql', { sql: { query: 'select 1', args: [] } });
    assert.deepEqual([r.status, r.json], [200, { data: { success: false, results: { columns: [], rows: [] }, error: 'SQL querying is not enabled' } }]);
    assert.equal((await post(w, '/api/admin/v1/execute-sql', { sql: { query: 'select 1' } })).json.error.details, '["/sql must have required property \'args\'"]');
  });

  test('parameters may stand in the query, the body wins', async () => {
    const r = await post(w, '/api/admin/v1/diagnostics?sync_rules_content=true');
    assert.deepEqual([r.status, r.json.error.details], [400, '["/sync_rules_content: type must be boolean"]']);
    assert.equal((await post(w, '/api/admin/v1/diagnostics?sync_rules_content=true', { sync_rules_content: false })).status, 200);
    const v = await post(w, `/api/admin/v1/validate?sync_rules=${encodeURIComponent(LISTS)}`);
    assert.deepEqual([v.status, v.json.data.errors], [200, []]);
  });

  test('a body of text/plain is ignored by admin routes, refused by those of clients; other types are refused', async () => {
    const plain = (route, type, token = ADMIN) =>
      fetch(`${w.url}${route}`, { method: 'POST', headers: { authorization: `Token ${token}`, 'content-type': type }, body: 'not { json' });
    assert.equal((await plain('/api/admin/v1/diagnostics', 'text/plain;charset=UTF-8')).status, 200);
    for (const route of ['/sync/stream', '/sync/checkpoint-request']) assert.equal((await plain(route, 'text/plain', sign('u1'))).status, 415, route);
    for (const type of ['application/xml', 'text/yaml']) {
      const r = await plain('/api/admin/v1/diagnostics', type);
      assert.deepEqual([r.status, (await r.json()).error.code], [415, 'FST_ERR_CTP_INVALID_MEDIA_TYPE']);
    }
  });

  test('more calls than may wait are refused', async () => {
    const all = await Promise.all(Array.from({ length: 120 }, () => fetch(`${w.url}/api/admin/v1/schema`, { method: 'POST', headers: { authorization: `Token ${ADMIN}` } })));
    const statuses = all.map((r) => r.status);
    assert.ok(statuses.every((s) => s === 200 || s === 429), [...new Set(statuses)].join());
    assert.ok(statuses.filter((s) => s === 200).length >= 30);
  });
});

describe('execute-sql, with debug_api', () => {
  let w;
  before(async () => {
    w = await World.create({ name: 'sql', schema: SCHEMA, sync: LISTS });
    Object.assign(w.service.config, { api: { tokens: [ADMIN] }, replication: { connections: [{ type: 'postgresql', uri: w.sourceUri, sslmode: 'disable', debug_api: true }] } });
    await w.service.start();
    await w.service.ready();
  });
  after(() => w?.destroy());
  const run = async (query, args = []) => (await post(w, '/api/admin/v1/execute-sql', { sql: { query, args } })).json.data;
  const refused = { columns: [], rows: [] };

  test('answers with columns and values as they would be synced', async () => {
    assert.deepEqual(await run('select 1 as a, $1::text as b, $2::int8 as c, true as d, null as e, $3::bytea as f, 2.5::float8 as g', ['x', 7, '\\x00']), {
      success: true, results: { columns: ['a', 'b', 'c', 'd', 'e', 'f', 'g'], rows: [[1, 'x', 7, 1, null, null, 2.5]] }
    });
    assert.deepEqual(await run('select id from lists where false'), { success: true, results: { columns: ['id'], rows: [] } });
    assert.deepEqual(await run(`update lists set id = id where id = $1`, [null]), { success: true, results: refused });
  });

  test('tells what the database says', async () => {
    assert.deepEqual(await run('selec 1'), { success: false, results: refused, error: 'syntax error at or near "selec"' });
    assert.match((await run('select 1; select 2')).error, /multiple commands/);
    assert.match((await run('copy lists to stdout')).error, /COPY/);
  });

  test('bounds the answer, and stays usable', async () => {
    assert.match((await run('select * from generate_series(1, 1000000)')).error, /more than 10000 rows/);
    assert.match((await run(`select repeat('x', 9000000)`)).error, /larger than 8 MiB/);
    assert.equal((await run('select count(*) as n from lists')).success, true);
  });

  test('wants the whole schema of its body', async () => {
    for (const [body, text] of [[{}, " must have required property 'sql'"], [{ sql: 1 }, '/sql: type must be object'], [{ sql: { query: 1, args: [] } }, '/sql/query: type must be string'], [{ sql: { query: 'x', args: 1 } }, '/sql/args: type must be array']]) {
      const r = await post(w, '/api/admin/v1/execute-sql', body);
      assert.deepEqual([r.status, JSON.parse(r.json.error.details)], [400, [text]]);
    }
  });
});

describe('without one: deployed over HTTP', () => {
  let w;
  before(async () => {
    w = await World.create({ name: 'deploy', schema: SCHEMA, config: { sync_config: undefined, api: { tokens: [ADMIN] } } });
    await w.service.start();
    await w.service.listening();
  });
  after(() => w?.destroy());
  const types = (c) => [...new Set(['lists', 'notes'].filter((t) => c.fold.rows(t).size))].join();

  test('nothing is active at first', async () => {
    const r = await call(w, 'GET', '/api/sync-rules/v1/current');
    assert.deepEqual([r.status, r.json.error.code], [422, 'PSYNC_S4104']);
    assert.deepEqual(Object.keys((await post(w, '/api/admin/v1/diagnostics')).json.data), ['connections', 'storage']);
    assert.equal((await w.request('POST', '/sync/stream', { body: {} })).status, 500);
  });

  test('what does not parse is refused', async () => {
    const r = await deploy(w, 'bucket_definitions: 7\n');
    assert.deepEqual([r.status, r.json.error.code, r.json.error.description], [422, 'PSYNC_R0001', 'Sync config parsing failed']);
    assert.ok(r.json.error.details.length > 0);
  });

  test('the first one is replicated and served', async () => {
    const r = await deploy(w, LISTS);
    assert.equal(r.status, 200, r.text);
    assert.match(r.json.data.slot_name, /^powersync_/);
    await w.service.ready();
    const c = await w.client().synced();
    assert.equal(types(c), 'lists');
    await c.equals('lists', 'select id from lists', (x) => String(x.id));
  });

  test('the next one replaces it under open streams', async () => {
    const c = await w.client().synced();
    assert.equal((await post(w, '/api/sync-rules/v1/deploy', { content: BOTH })).status, 200);
    await eventually(async () => (await call(w, 'GET', '/api/sync-rules/v1/current')).json.data?.current.content === BOTH, { what: 'the switch' });
    await eventually(() => types(c) === 'lists,notes', { what: () => `the new bucket on the open stream (${types(c)})` });
    await w.q(`insert into notes values (2, 'u2')`);
    await c.caughtUp();
    await c.equals('notes', 'select id from notes', (x) => String(x.id));
    assert.equal((await w.slots()).length, 1, 'one slot for all of them');
  });

  test('it is still there after a restart', async () => {
    await w.service.stop();
    await w.service.start();
    await w.service.ready();
    assert.equal(types(await w.client().synced()), 'lists,notes');
    assert.equal((await call(w, 'GET', '/api/sync-rules/v1/current')).json.data.current.content, BOTH);
  });

  test('deploying while the source is away is kept and done later', async () => {
    const slots = await w.slots();
    assert.equal(slots.length, 1);
    await w.admin.query(`alter database "${w.database}" allow_connections false`);
    await w.admin.query('select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()', [w.database]);
    try {
      const r = await deploy(w, LISTS);
      assert.equal(r.status, 200, r.text);
      const d = (await post(w, '/api/admin/v1/diagnostics')).json.data;
      assert.equal(d.connections[0].connected, false);
      assert.deepEqual(d.active_sync_rules.connections[0].tables[0].errors, [{ level: 'fatal', message: 'connection failed' }]);
      assert.equal((await post(w, '/api/admin/v1/schema')).status, 500);
    } finally {
      await w.admin.query(`alter database "${w.database}" allow_connections true`);
    }
    await eventually(async () => (await call(w, 'GET', '/api/sync-rules/v1/current')).json.data?.current.content === LISTS, { timeout: 20000, what: 'the deploy' });
    assert.equal(types(await w.client().synced()), 'lists');
  });

  test('a reload that brings a sync config closes the route, one that takes it away opens it', async () => {
    const reload = async (sync, until) => {
      w.service.sync = sync;
      w.service.config.sync_config = sync ? { path: 'sync-config.yaml' } : undefined;
      await w.service.writeConfig();
      const from = w.service.log.length;
      w.service.child.kill('SIGHUP');
      await eventually(() => until.test(w.service.log.slice(from)), { what: () => `${until}; the log ends:\n${w.service.tail()}` });
    };
    await reload(BOTH, /Activated the sync config/);
    assert.equal(types(await w.client().synced()), 'lists,notes');
    const closed = await deploy(w, LISTS);
    assert.deepEqual([closed.status, closed.json.error.code], [422, 'PSYNC_S4105']);
    await reload('streams: 1', /What runs goes on/);
    assert.equal((await deploy(w, LISTS)).status, 422, 'a broken one is configured as well');
    assert.match(JSON.stringify((await post(w, '/api/admin/v1/diagnostics')).json.data), /not usable/);
    await reload(undefined, /names no sync config/);
    assert.doesNotMatch(JSON.stringify((await post(w, '/api/admin/v1/diagnostics')).json.data), /not usable/);
    assert.equal((await deploy(w, LISTS)).status, 200);
    await eventually(async () => (await call(w, 'GET', '/api/sync-rules/v1/current')).json.data?.current.content === LISTS, { what: 'the deploy' });
  });
});
