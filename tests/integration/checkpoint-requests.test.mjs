// Checkpoint requests, the scenarios that every storage must pass, on a healthy source (numbers: specification, scenarios 1 to 22). Those of
// several processes on one store do not apply to the embedded one; those of retention are in tests/unit/jobs/test_retention.c.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { HEAD, MARKER, ROUTE, acknowledged, ask, follow, generate, isComplete, relayed, until } from '../lib/acknowledging.mjs';
import { syncline } from '../lib/cli.mjs';
import { eventually } from '../lib/util.mjs';

const SCHEMA = 'create table rows(id text primary key, owner text, body text);';
const SYNC = 'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS u\n    data:\n      - SELECT * FROM rows WHERE owner = bucket.u\n';
const MOST = 9223372036854775807n;

describe('checkpoint requests', () => {
  let w, markers, heads;
  before(async () => {
    w = await relayed({ name: 'requests', schema: SCHEMA, sync: SYNC, config: { system: { logging: { level: 'debug', format: 'json' } } } });
    markers = w.relay.count(MARKER);
    heads = w.relay.count(HEAD);
  });
  after(() => w?.destroy());

  const client = async (user, id) => (await syncline(['requests', '--user', user, '--client', id, '--json'], { config: w.service.configPath })).json.clients[0];
  const insert = (id, owner, size = 10) => w.q('insert into rows values ($1, $2, $3)', [id, owner, 'x'.repeat(size)]);
  /** Everything up to now is served: heads read before are passed for good. */
  const settled = async (user) => {
    const c = w.client({ user, id: 'settling' });
    await c.synced();
    await insert(`settled-${user}`, user);
    await eventually(() => c.fold.rows('rows').has(`settled-${user}`), { every: 5 });
    c.close();
  };

  test('1. the first request on an idle source is acknowledged without another write', async () => {
    const s = await follow(w, 'first', 'c');
    const line = await s.waitFor((l) => l.checkpoint);
    assert.equal('write_checkpoint' in line.checkpoint, false);
    await s.waitFor(isComplete);
    assert.equal(await ask(w, 'first', 'c', 17), '17');
    const diff = (await s.waitFor((l) => acknowledged(l) === '17', 5000)).checkpoint_diff;
    assert.deepEqual([diff.updated_buckets, diff.removed_buckets], [[], []]);
    assert.equal((await s.waitFor(isComplete)).checkpoint_complete.last_op_id, diff.last_op_id);
    s.close();
  });

  test('2. data first, in one group, also of writers that do not wait for their flush', async () => {
    const early = [];
    await Promise.all(
      Array.from({ length: 6 }, async (_, i) => {
        const user = `writer${i}`;
        const c = await w.client({ user, id: 'c' }).synced();
        const source = await w.pool.connect();
        await source.query('set synchronous_commit = off');
        for (let n = 1; n <= 40; n++) {
          await source.query('insert into rows values ($1, $2, $3)', [`${user}-${n}`, user, 'y'.repeat((n % 3) * 3000)]);
          await ask(w, user, 'c', n);
          await eventually(() => BigInt(c.fold.writeCheckpoint ?? 0) >= BigInt(n), { every: 1, what: `${user} ${n}` });
          if (!c.fold.rows('rows').has(`${user}-${n}`)) early.push(`${user}-${n}`);
        }
        await source.query('reset synchronous_commit');
        source.release();
        await c.equals('rows', `select * from rows where owner = '${user}'`);
        c.close();
      })
    );
    assert.deepEqual(early, []);
  });

  test('3. a retry of a pending id keeps its head and makes the marker again', async () => {
    const s = await follow(w, 'retry', 'c');
    await s.waitFor(isComplete);
    w.relay.hold();
    await insert('retry', 'retry');
    await ask(w, 'retry', 'c', 1);
    const before = await client('retry', 'c');
    await insert('retry-2', 'retry');
    const made = markers();
    assert.equal(await ask(w, 'retry', 'c', 1), '1');
    assert.ok(markers() > made, 'the retry made a marker before it was answered');
    assert.equal((await client('retry', 'c')).pending[0].head, before.pending[0].head);
    w.relay.release();
    await until(s, 1);
    s.close();
  });

  test('4. a stale id changes nothing, answers the greater one, and makes its marker while that is pending', async () => {
    const s = await follow(w, 'stale', 'c');
    await s.waitFor(isComplete);
    w.relay.hold();
    await insert('stale', 'stale');
    await ask(w, 'stale', 'c', 20);
    const before = await client('stale', 'c');
    const made = markers();
    assert.equal(await ask(w, 'stale', 'c', 4), '20');
    assert.ok(markers() > made);
    const { newest_id, pending } = await client('stale', 'c');
    assert.deepEqual([newest_id, pending.map((p) => [p.id, p.head])], ['20', before.pending.map((p) => [p.id, p.head])]);
    w.relay.release();
    await until(s, 20);
    assert.equal(s.lines.some((l) => acknowledged(l) === '4'), false);
    s.close();
  });

  test('5. a duplicate of an acknowledged id makes no marker', async () => {
    const s = await follow(w, 'twice', 'c');
    await ask(w, 'twice', 'c', 3);
    await until(s, 3);
    await settled('twice');
    const made = markers();
    for (let i = 0; i < 10; i++) assert.equal(await ask(w, 'twice', 'c', i % 2 ? 3 : 2), '3');
    assert.equal(markers(), made);
    s.close();
  });

  test('7. under lag each id is acknowledged at its own head', async () => {
    const s = await follow(w, 'lag', 'c');
    await s.waitFor(isComplete);
    w.relay.hold();
    await insert('lag-a', 'lag');
    await ask(w, 'lag', 'c', 42);
    for (let i = 0; i < 200; i++) await insert(`lag-${i}`, 'lag', 20000);
    await ask(w, 'lag', 'c', 43);
    w.relay.release();
    assert.equal(await until(s, 1), 42n);
    assert.equal(await until(s, 43), 43n);
    s.close();
  });

  test('8. 1,000 requests of 1,000 users at once share a handful of heads, and nobody sees another\'s id', async () => {
    const streams = [];
    for (let i = 0; i < 1000; i += 50) streams.push([i, await follow(w, `crowd${i}`, 'd')]);
    for (const [, s] of streams) await s.waitFor(isComplete);
    const read = heads();
    const answers = await Promise.all(Array.from({ length: 1000 }, (_, i) => ask(w, `crowd${i}`, 'd', i + 1)));
    answers.forEach((a, i) => assert.equal(a, String(i + 1)));
    assert.ok(heads() - read < 250, `${heads() - read} heads were read`);
    for (const [i, s] of streams) {
      assert.equal(await until(s, 1), BigInt(i + 1));
      assert.deepEqual(s.lines.map(acknowledged).filter((x) => x !== undefined && x !== String(i + 1)), []);
      s.close();
    }
  });

  test('9. supplied, generated and supplied ids are one sequence; a generated one makes the record persistent', async () => {
    assert.equal(await ask(w, 'mixed', 'c', 5), '5');
    assert.equal((await client('mixed', 'c')).temporary, true);
    assert.equal(await generate(w, 'mixed', 'c'), '6');
    assert.equal((await client('mixed', 'c')).temporary, false);
    assert.equal(await ask(w, 'mixed', 'c', 2), '6');
    assert.equal((await client('mixed', 'c')).temporary, false, 'a stale id leaves a persistent record so');
    assert.equal(await ask(w, 'mixed', 'c', 6), '6');
    assert.equal((await client('mixed', 'c')).temporary, true);
    assert.equal(await ask(w, 'mixed', 'c', 9), '9');
    const s = await follow(w, 'mixed', 'c');
    await until(s, 9);
    s.close();
  });

  test('14. ids and client ids at their limits; users whose joined names are equal are apart', async () => {
    const long = 'k'.repeat(1024);
    const all = [['edge', 'c', 9007199254740993n], ['edge', 'top', MOST], ['edge', '', 3n], ['edge', 'ключ/🔑 \'"', 4n], ['edge', long, 5n], ['a', 'b/c', 100n], ['a/b', 'c', 7n]];
    for (const [user, id, n] of all) assert.equal(await ask(w, user, id, n), String(n));
    for (const [user, id, n] of all) {
      const s = await follow(w, user, id);
      assert.equal(await until(s, n), n);
      s.close();
    }
    const bare = await follow(w, 'a/b/c');
    await bare.waitFor(isComplete);
    assert.equal(bare.seen.top, 0n);
    bare.close();
  });

  test('15. the first line of a new connection repeats the greatest acknowledged id, and so does every later one', async () => {
    const s = await follow(w, 'again', 'c');
    await ask(w, 'again', 'c', 8);
    await until(s, 8);
    s.close();
    const next = await follow(w, 'again', 'c');
    assert.equal(acknowledged(await next.waitFor((l) => l.checkpoint)), '8');
    await next.waitFor(isComplete);
    await insert('again', 'again');
    assert.equal(acknowledged(await next.waitFor((l) => l.checkpoint_diff)), '8');
    next.close();
  });

  test('16. a new id every 100 ms under steady lag: acknowledgements keep flowing', async () => {
    const s = await follow(w, 'steady', 'c');
    await s.waitFor(isComplete);
    w.relay.late(1200);
    const during = new Set();
    for (let n = 1; n <= 45; n++) {
      await insert(`steady-${n}`, 'steady');
      await ask(w, 'steady', 'c', n);
      if (s.seen.top) during.add(s.seen.top);
      await new Promise((r) => setTimeout(r, 100));
    }
    assert.ok(during.size >= 5, `${during.size} acknowledgements while ids kept coming`);
    w.relay.late(0);
    await until(s, 45);
    s.close();
  });

  test('19. the greatest id, then the legacy route: answered, and others of the same instant are unaffected', async () => {
    assert.equal(await ask(w, 'top', 'c', MOST), String(MOST));
    const answers = await Promise.all([generate(w, 'top', 'c'), ...Array.from({ length: 20 }, (_, i) => generate(w, `beside${i}`, 'c')), generate(w, 'top', 'c')]);
    assert.deepEqual(answers, [String(MOST), ...Array(20).fill('1'), String(MOST)]);
    const s = await follow(w, 'top', 'c');
    assert.equal(await until(s, MOST), MOST);
    s.close();
  });

  test('20. 1,000 requests one after the other on an idle source: each acknowledged, at most a marker for each', async () => {
    const s = await follow(w, 'sequence', 'c');
    await s.waitFor(isComplete);
    const made = markers();
    for (let n = 1; n <= 1000; n++) {
      assert.equal(await ask(w, 'sequence', 'c', n), String(n));
      await until(s, n);
    }
    assert.ok(markers() - made <= 1000, `${markers() - made} markers`);
    s.close();
  });

  test('21. the legacy route beside stale and repeated requests of one user: a new id each time, with its own head', async () => {
    const c = await w.client({ user: 'both', id: 'c' }).synced();
    await ask(w, 'both', 'c', 50);
    let top = 50n;
    for (let n = 0; n < 20; n++) {
      await insert(`both-${n}`, 'both');
      const [made, stale, same] = await Promise.all([generate(w, 'both', 'c'), ask(w, 'both', 'c', 10), ask(w, 'both', 'c', top)]);
      assert.ok(BigInt(made) > top, `${made} above ${top}`);
      assert.ok(BigInt(stale) >= top && BigInt(same) >= top);
      top = BigInt(made);
      await eventually(() => BigInt(c.fold.writeCheckpoint ?? 0) >= top, { every: 1 });
      assert.ok(c.fold.rows('rows').has(`both-${n}`), `row ${n} with its acknowledgement`);
    }
    c.close();
  });

  test('22. devices that share one record on the legacy route: none is acknowledged before its own write', async () => {
    const early = [];
    await Promise.all(
      Array.from({ length: 4 }, async (_, i) => {
        const c = await w.client({ user: 'shared', body: { client_id: undefined } }).synced();
        for (let n = 0; n < 25; n++) {
          await insert(`shared-${i}-${n}`, 'shared');
          const id = BigInt(await generate(w, 'shared'));
          await eventually(() => BigInt(c.fold.writeCheckpoint ?? 0) >= id, { every: 1 });
          if (!c.fold.rows('rows').has(`shared-${i}-${n}`)) early.push(`${i}-${n}`);
        }
        c.close();
      })
    );
    assert.deepEqual(early, []);
  });

  test('a request wakes the streams of its own user and client alone, each of them', async () => {
    const [a, b, other, bare] = [await follow(w, 'pair', 'c'), await follow(w, 'pair', 'c'), await follow(w, 'pair', 'd'), await follow(w, 'pair')];
    for (const s of [a, b, other, bare]) await s.waitFor(isComplete);
    await ask(w, 'pair', 'c', 4);
    await until(a, 4);
    await until(b, 4);
    await insert('pair', 'pair'); // the next line of the others, which would show an id
    for (const s of [other, bare]) {
      await s.waitFor((l) => l.checkpoint_diff);
      assert.equal(s.seen.top, 0n);
      assert.equal(s.seen.lines, 2);
    }
    for (const s of [a, b, other, bare]) s.close();
  });

  test('each request leaves a line at level debug', async () => {
    await ask(w, 'logged', 'phone', 12);
    await ask(w, 'logged', 'phone', 11);
    const records = await eventually(() => {
      const mine = w.service.freshLog.split('\n').filter((l) => l.includes('"logged"') && l.includes('Checkpoint request')).map((l) => JSON.parse(l));
      return mine.length === 2 && mine;
    });
    assert.match(records[0].message, /^Checkpoint request stored, (pending|acknowledged)$/);
    assert.match(records[1].message, /^Checkpoint request known, (pending|acknowledged)$/);
    assert.deepEqual(records.map((r) => [r.level, r.client_id, r.requested_id, r.stored_id]), [['debug', 'phone', 12, 12], ['debug', 'phone', 11, 12]]);
    assert.match(records[0].head, /^[0-9A-F]{8}\/[0-9A-F]{8}$/);
    assert.match(records[0].rid, /^h\//);
  });

  test('the oldest route answers the op id once replication has passed', async () => {
    await insert('oldest', 'oldest');
    const r = await w.request('GET', '/write-checkpoint.json', { user: 'oldest' });
    assert.equal(r.status, 200, r.text);
    assert.match(r.json.data.checkpoint, /^\d+$/);
    const s = await follow(w, 'oldest', 'c');
    const line = await s.waitFor((l) => l.checkpoint);
    assert.ok(BigInt(line.checkpoint.last_op_id) >= BigInt(r.json.data.checkpoint));
    s.close();
  });

  test('what is not a request is refused with its reason', async () => {
    const post = (body, options = {}) => w.request('POST', ROUTE, { user: 'bad', body, ...options });
    const details = async (body) => {
      const r = await post(body);
      assert.deepEqual([r.status, r.json.error.code, r.json.error.description], [400, 'PSYNC_S2001', 'Validation failed'], r.text);
      return JSON.parse(r.json.error.details).join();
    };
    for (const id of ['0', '"0"', '-1', '"-1"', '"9223372036854775808"', '"99999999999999999999999"']) assert.match(await details(`{"client_id":"c","checkpoint_request_id":${id}}`), /range 1 to 9223372036854775807/);
    for (const id of ['1.5', '"+1"', '" 7 "', '"0x10"', '""', '"abc"', 'null', 'true', '[]', '{}']) assert.match(await details(`{"client_id":"c","checkpoint_request_id":${id}}`), /must be an integer/);
    assert.match(await details('{"client_id":"c"}'), /checkpoint_request_id/);
    assert.match(await details('{"checkpoint_request_id":1}'), /client_id/);
    assert.match(await details(`{"client_id":"${'x'.repeat(1025)}","checkpoint_request_id":1}`), /1024 bytes/);
    assert.match(await details(`{"client_id":"${'é'.repeat(513)}","checkpoint_request_id":1}`), /1024 bytes/, 'bytes count, not letters');
    assert.match(await details('{"client_id":"a\\u0000b","checkpoint_request_id":1}'), /NUL/);
    assert.equal((await post('{')).status, 400);
    assert.equal((await post('')).status, 400);
    assert.equal((await post('{}', { headers: { 'content-type': 'application/xml' } })).status, 415);
    assert.equal((await post(`{"client_id":"${'x'.repeat(1 << 20)}","checkpoint_request_id":1}`)).status, 413);
    assert.equal((await w.request('GET', ROUTE, { user: 'bad' })).status, 404);
    assert.equal((await post({ client_id: 'c', checkpoint_request_id: 1 }, { token: 'bad' })).status, 401);
    assert.equal((await w.request('GET', `/write-checkpoint2.json?client_id=${'x'.repeat(1025)}`, { user: 'bad' })).status, 400);
    const all = (await syncline(['requests', '--user', 'bad', '--json'], { config: w.service.configPath })).json;
    assert.deepEqual(all.clients, []);
  });
});
