// "Why is this client waiting?" as `syncline requests` and the admin route tell it: without a service, behind the source, without a
// source, without a stream, while the client does not read.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ask, follow, generate, isComplete, relayed, until } from '../lib/acknowledging.mjs';
import { syncline } from '../lib/cli.mjs';
import { eventually, freePort } from '../lib/util.mjs';

const ADMIN = 'admin-secret';
const SYNC = 'bucket_definitions:\n  notes:\n    data:\n      - SELECT * FROM notes\n';

describe('the report on checkpoint requests', () => {
  let w, port;
  before(async () => {
    port = await freePort();
    const config = { api: { tokens: [ADMIN] }, telemetry: { prometheus_port: port, disable_telemetry_sharing: true } };
    w = await relayed({ name: 'report', schema: 'create table notes(id text primary key, body text);', sync: SYNC, config });
  });
  after(() => w?.destroy());

  const command = async (...args) => {
    const r = await syncline(['requests', ...args, '--json'], { config: w.service.configPath });
    assert.equal(r.code, 0, r.out + r.err);
    return r.json;
  };
  const route = (query, token = ADMIN) =>
    fetch(`${w.url}/api/admin/v1/checkpoint-requests${query}`, { headers: { authorization: `Bearer ${token}` } }).then(async (r) => ({ status: r.status, json: await r.json() }));
  const client = async (user, id) => (await command('--user', user, '--client', id)).clients[0];
  const state = (user, id, want) =>
    eventually(
      async () => {
        const c = await client(user, id);
        return c.state === want && c;
      },
      { every: 20, what: () => `state ${want}` }
    );

  const metrics = async () => {
    const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    return Object.fromEntries(text.split('\n').filter((l) => l && !l.startsWith('#')).map((l) => [l.slice(0, l.lastIndexOf(' ')), Number(l.slice(l.lastIndexOf(' ')))]));
  };

  test('a client that has what it asked for', async () => {
    const s = await follow(w, 'ann', 'phone');
    await ask(w, 'ann', 'phone', 5);
    await until(s, 5);
    const c = await state('ann', 'phone', 'sent');
    assert.deepEqual([c.user_id, c.client_id, c.newest_id, c.acknowledged_id, c.pending, c.temporary], ['ann', 'phone', '5', '5', [], true]);
    assert.deepEqual(c.streams, [{ write_checkpoint: '5', complete: true, unsent_bytes: 0 }]);
    assert.match(c.reason, /was sent with its data; a client that still waits has not applied/);
    s.close();
    assert.match((await state('ann', 'phone', 'no_stream')).reason, /no open stream/);
    await generate(w, 'ann');
    const all = await command('--user', 'ann');
    assert.deepEqual(all.clients.map((x) => [x.client_id, x.temporary]).sort(), [[null, false], ['phone', true]].sort());
    assert.deepEqual((await command('--client', 'phone')).clients.map((x) => x.user_id), ['ann']);
    assert.deepEqual((await command('--user', 'nobody')).clients, []);
  });

  test('replication is behind', async () => {
    const s = await follow(w, 'bob', 'laptop');
    await s.waitFor(isComplete);
    w.relay.hold();
    await w.q(`insert into notes values ('lag', repeat('x', 4000))`);
    await ask(w, 'bob', 'laptop', 1);
    await w.q(`insert into notes values ('lag2', repeat('x', 4000))`);
    await ask(w, 'bob', 'laptop', 2);
    const c = await client('bob', 'laptop');
    assert.equal(c.state, 'lag');
    assert.match(c.reason, /^Id 2 waits for position [0-9A-F]{8}\/[0-9A-F]{8}; replication is behind: .*, \d+ bytes before it/);
    assert.deepEqual(c.pending.map((p) => [p.id, typeof p.head, p.generated, p.bytes_to_go > 0, p.age_seconds >= 0]), [['1', 'string', false, true, true], ['2', 'string', false, true, true]]);
    assert.ok(c.pending[0].bytes_to_go < c.pending[1].bytes_to_go);
    const waiting = await command();
    assert.deepEqual([waiting.pending, waiting.waiting_for_head, waiting.running, waiting.active], [2, 0, true, true]);
    assert.deepEqual(waiting.clients.map((x) => x.user_id), ['bob']);
    const m = await metrics();
    assert.equal(m.syncline_checkpoint_requests_pending, 2);
    assert.ok(m.syncline_checkpoint_requests_oldest_pending_seconds > 0);
    const acknowledgedBefore = m.syncline_checkpoint_request_acknowledged_seconds_count;
    assert.equal(waiting.source.connected, true);
    const text = await syncline(['requests'], { config: w.service.configPath });
    assert.match(text.out, /2 pending, 0 of them without a head[\s\S]*user "bob", client "laptop": newest id 2, acknowledged none, 1 open stream/);
    w.relay.release();
    await until(s, 2);
    await state('bob', 'laptop', 'sent');
    const after = await metrics();
    assert.equal(after.syncline_checkpoint_requests_pending, 0);
    assert.equal(after.syncline_checkpoint_request_acknowledged_seconds_count, acknowledgedBefore + 2);
    assert.ok(after['syncline_checkpoint_requests_total{outcome="stored"}'] >= 4);
    assert.ok(after.syncline_checkpoint_request_markers_total >= 1);
    assert.ok(after.syncline_session_steps_total > 0);
  });

  test('the source is away', async () => {
    w.relay.away();
    await ask(w, 'cid', 'tablet', 9);
    const c = await state('cid', 'tablet', 'source_down');
    assert.deepEqual([c.pending[0].head, 'bytes_to_go' in c.pending[0]], [null, false]);
    assert.match(c.reason, /Id 9 was taken while the source could not be reached/);
    assert.equal((await command()).waiting_for_head, 1);
    w.relay.back();
    const s = await follow(w, 'cid', 'tablet');
    await until(s, 9, 30000);
    s.close();
  });

  test('the client does not read its stream', async () => {
    const s = await follow(w, 'dan', 'slow');
    await s.waitFor(isComplete);
    s.pause();
    await w.q(`insert into notes select 'big' || i, repeat(md5(i::text), 8000) from generate_series(1, 60) i`);
    await ask(w, 'dan', 'slow', 3);
    const c = await state('dan', 'slow', 'unread');
    assert.ok(c.streams[0].unsent_bytes > 0);
    assert.match(c.reason, /Id 3 is acknowledged; the client does not read its stream: \d+ bytes wait/);
    s.resume();
    await until(s, 3);
    s.close();
  });

  test('the admin route says the same, for an admin token alone', async () => {
    const r = await route('?user_id=ann&client_id=phone&limit=5');
    assert.equal(r.status, 200);
    assert.deepEqual(r.json.data.clients.map((c) => [c.user_id, c.client_id, c.state]), [['ann', 'phone', 'no_stream']]);
    assert.equal((await route('', 'wrong')).status, 401);
    assert.equal((await w.request('GET', '/api/admin/v1/checkpoint-requests')).status, 401, 'a user token opens nothing');
    for (const limit of ['0', '1001', 'x', '']) {
      const bad = await route(`?limit=${limit}`);
      assert.deepEqual([bad.status, bad.json.error.details], [400, '["/limit: must be an integer from 1 to 1000"]'], limit);
    }
    assert.equal((await route('?user_id=%ff')).status, 400);
    assert.deepEqual((await route('?user_id=ann&client_id=')).json.data.clients, [], 'an empty client id is one of its own');
    assert.equal((await route('?user_id=ann&limit=1')).json.data.more, true);
  });

  test('what a client calls itself cannot reach the terminal', async () => {
    await ask(w, 'ann', '\u001b[31m\u009b31m\n', 1);
    const r = await syncline(['requests', '--user', 'ann'], { config: w.service.configPath });
    assert.match(r.out, /client "\\u001[bB]\[31m\\u009[bB]31m\\n"/);
  });

  test('without a service the store is read', async () => {
    await eventually(async () => (await command()).pending === 0, { every: 20, what: 'nothing of the tests before is pending' });
    w.relay.hold();
    await w.q(`insert into notes values ('eve', '')`);
    await ask(w, 'eve', 'x', 4);
    await w.service.kill9();
    const all = await command();
    assert.deepEqual([all.running, all.active, all.custom, all.pending, 'source' in all], [false, true, false, 1, false]);
    assert.deepEqual(all.clients.map((c) => [c.user_id, c.pending[0].id, c.state, 'streams' in c]), [['eve', '4', 'not_running', false]]);
    const text = await syncline(['requests', '--user', 'ann', '--client', 'phone'], { config: w.service.configPath });
    assert.match(text.out, /No service is running on this store[\s\S]*Id 5 is acknowledged, and no service is running/);
    w.relay.release();
  });

  test('why replication failed is known without a service', async () => {
    w.relay.away();
    await w.service.start();
    await eventually(async () => (await command()).source?.error, { every: 20, what: 'an error of replication' });
    await w.service.kill9();
    const [c] = (await command('--user', 'eve')).clients;
    assert.match(c.reason, /no service is running on this store\. Replication failed last with: .+/);
    w.relay.back();
  });

  test('wrong arguments are told', async () => {
    const r = await syncline(['requests', '--limit', '0'], { config: w.service.configPath });
    assert.deepEqual([r.code, r.err], [1, 'syncline requests: --limit takes a whole number from 1 to 1000\n']);
    const none = await syncline(['requests', '--json'], { config: w.service.configPath, env: { POWERSYNC_CONFIG_PATH: '' } });
    assert.equal(none.code, 0);
  });
});
