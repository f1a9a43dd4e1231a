// Checkpoint requests when things go wrong: the source away, markers lost, kills, deploys, floods (numbers: specification, scenarios 6, 11, 13,
// 17, 24).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { HEAD, MARKER, acknowledged, ask, follow, generate, isComplete, relayed, until } from '../lib/acknowledging.mjs';
import { syncline } from '../lib/cli.mjs';
import { sign } from '../lib/token.mjs';
import { Random, eventually, sleep, within } from '../lib/util.mjs';

const ADMIN = 'admin-secret';
const SCHEMA = `create table rows(id text primary key, owner text, body text); create table more(id text primary key, owner text);
  insert into more select 'm' || i, 'u' || i % 5 from generate_series(1, 30000) i;`;
const MINE = 'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS u\n    data:\n      - SELECT * FROM rows WHERE owner = bucket.u\n';
const MORE = `${MINE}  more:\n    data:\n      - SELECT * FROM more\n`;

const deploy = async (w, text) => {
  const r = await fetch(`${w.url}/api/sync-rules/v1/deploy`, { method: 'POST', headers: { authorization: `Bearer ${ADMIN}`, 'content-type': 'application/yaml' }, body: text });
  assert.equal(r.status, 200, await r.text());
};

describe('checkpoint requests and what goes wrong', () => {
  let w;
  before(async () => {
    w = await relayed({ name: 'request_faults', schema: SCHEMA, sync: MINE, config: { sync_config: undefined, api: { tokens: [ADMIN] } }, firstDeploy: (world) => deploy(world, MINE) });
  });
  after(() => w?.destroy());

  const report = async (...args) => (await syncline(['requests', ...args, '--json'], { config: w.service.configPath })).json;
  const insert = (id, owner, size = 10) => w.q('insert into rows values ($1, $2, $3)', [id, owner, 'x'.repeat(size)]);

  test('6. the connection is cut between storing and marking: acknowledged without anybody asking again', async () => {
    const s = await follow(w, 'cut', 'c');
    await s.waitFor(isComplete);
    w.relay.hold();
    await insert('cut', 'cut');
    w.relay.cutAt(MARKER);
    assert.equal(await ask(w, 'cut', 'c', 6), '6');
    await eventually(() => w.relay.killed > 0, { every: 5, what: 'a marker that was cut' });
    assert.equal((await report('--user', 'cut')).clients[0].pending.length, 1);
    w.relay.cutAt(undefined);
    w.relay.release();
    await until(s, 6);
    s.close();
  });

  test('the connection is cut while the head is read: taken all the same, and acknowledged', async () => {
    const s = await follow(w, 'headless', 'c');
    await s.waitFor(isComplete);
    w.relay.cutAt(HEAD);
    assert.equal(await ask(w, 'headless', 'c', 2), '2');
    assert.ok(w.relay.killed > 0);
    w.relay.cutAt(undefined);
    await until(s, 2);
    s.close();
  });

  test('17. the source is away: clients connect, get their data, and what they ask for is acknowledged once it is back', async () => {
    await insert('early', 'away');
    const early = await w.client({ user: 'away', id: 'c' }).synced();
    await eventually(() => early.fold.rows('rows').size === 1);
    early.close();
    w.relay.away();
    const c = await w.client({ user: 'away', id: 'c' }).synced();
    assert.ok(c.fold.rows('rows').has('early'));
    assert.equal(await ask(w, 'away', 'c', 1), '1');
    assert.equal(await ask(w, 'away', 'c', 5), '5');
    assert.equal(await ask(w, 'away', 'c', 3), '5');
    assert.equal(await generate(w, 'away', 'c'), '6', 'the legacy route, too');
    await insert('late', 'away');
    w.relay.back();
    await eventually(() => BigInt(c.fold.writeCheckpoint ?? 0) >= 6n, { timeout: 30000, every: 5 });
    assert.ok(c.fold.rows('rows').has('late'), 'the head was read after the row, so the row is here');
    c.close();
  });

  test('11. killed between requests: nothing that was answered is lost, nothing is acknowledged before its row', async () => {
    const random = new Random(11);
    const answered = new Map(); // user -> greatest answered id
    for (let round = 0; round < 5; round++) {
      let over = false;
      const users = Array.from({ length: 6 }, async (_, i) => {
        const user = `killed${i}`;
        while (!over) {
          const n = (answered.get(user) ?? 0) + 1;
          try {
            await w.q('insert into rows values ($1, $2) on conflict do nothing', [`${user}-${n}`, user]);
            await ask(w, user, 'c', n);
            answered.set(user, n);
          } catch {
            break; // the service is gone
          }
        }
      });
      const away = round % 2 === 1; // every other time the source is away at the kill and at the start
      await sleep(random.below(150));
      if (away) w.relay.away();
      await sleep(random.below(100));
      await w.service.kill9();
      over = true;
      await Promise.all(users);
      await w.service.start();
      await w.service.ready();
      if (away) w.relay.back();
      for (const [user, n] of answered) {
        const c = w.client({ user, id: 'c' });
        await c.connect();
        await eventually(
          () => {
            const id = Number(c.fold.writeCheckpoint ?? 0);
            for (let k = 1; k <= id; k++) assert.ok(c.fold.rows('rows').has(`${user}-${k}`), `${user}-${k} with the acknowledgement of ${id}`);
            return id >= n;
          },
          { timeout: 30000, every: 5, what: () => `${user}: ${n} acknowledged after the kill, at ${c.fold.writeCheckpoint}` }
        );
        c.close();
      }
    }
    assert.equal(answered.size, 6);
  });

  test('13, 24. requests around a deploy: acknowledged on the new config too, never before its data, never going down', async () => {
    const c = await w.client({ user: 'u1', id: 'deployed' }).synced();
    let top = 0n;
    const watch = await follow(w, 'u1', 'deployed');
    await ask(w, 'u1', 'deployed', 1000);
    await until(watch, 1000);
    await deploy(w, MORE);
    const early = [];
    for (let n = 1001; !c.fold.rows('more').size && n < 3000; n++) {
      await insert(`deploy-${n}`, 'u1');
      await ask(w, 'u1', 'deployed', n);
      await eventually(() => BigInt(c.fold.writeCheckpoint ?? 0) >= BigInt(n), { every: 1, what: () => `${n}, at ${c.fold.writeCheckpoint}` });
      if (!c.fold.rows('rows').has(`deploy-${n}`)) early.push(n);
      top = BigInt(n);
    }
    assert.deepEqual(early, []);
    assert.ok(top > 1000n);
    assert.equal(c.fold.rows('more').size, 30000);
    await until(watch, top);
    const next = await follow(w, 'u1', 'deployed');
    assert.equal(acknowledged(await next.waitFor((l) => l.checkpoint)), String(top));
    await c.equals('rows', `select * from rows where owner = 'u1'`);
    for (const s of [watch, next, c]) s.close();
    await deploy(w, MINE);
  });

  test('a flood of one client costs bounded memory, and is acknowledged', { timeout: 60000 }, async () => {
    const total = 12000, connections = 40;
    const s = await follow(w, 'flood', 'c');
    await s.waitFor(isComplete);
    w.relay.hold();
    await insert('flood', 'flood');
    const anonymous = () => Number(/RssAnon:\s+(\d+)/.exec(fs.readFileSync(`/proc/${w.service.child.pid}/status`, 'utf8'))[1]);
    // All requests of a connection at once, without waiting for answers.
    const flood = (first, last) =>
      new Promise((resolve, reject) => {
        const parts = [];
        for (let n = first; n < last; n++) {
          const body = JSON.stringify({ client_id: 'c', checkpoint_request_id: String(n) });
          parts.push(`POST /sync/checkpoint-request HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${sign('flood')}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
        }
        const socket = net.connect(w.service.port, '127.0.0.1');
        let answers = 0, rest = '';
        socket.on('error', reject);
        socket.on('data', (d) => {
          const heads = (rest + d.toString('latin1')).split('HTTP/1.1 200 OK');
          answers += heads.length - 1;
          rest = heads.at(-1).slice(-14); // a head may be cut in two
          if (answers === last - first) socket.destroy();
        });
        socket.on('close', () => resolve(answers));
        socket.write(parts.join(''));
      });
    const round = (base) => Promise.all(Array.from({ length: connections }, (_, i) => flood(base + i * (total / connections), base + (i + 1) * (total / connections))));
    await within(round(1), 30000, 'the first flood');
    const before = anonymous();
    const answers = await within(round(1 + total), 30000, 'the second flood');
    assert.equal(answers.reduce((a, b) => a + b), total);
    assert.ok(anonymous() - before < 16384, `${anonymous() - before} KiB more after ${total} requests`);
    const { pending } = await report();
    assert.ok(pending <= 64, `${pending} pending`);
    w.relay.release();
    await ask(w, 'flood', 'c', 1 + 2 * total);
    await until(s, 1 + 2 * total);
    s.close();
  });
});
