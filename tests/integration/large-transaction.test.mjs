// One transaction far larger than what is written at once: it is flushed piece by piece, in bounded memory, and shown as a whole, also
// when the service is killed in the middle of it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Random, eventually, sleep } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const ROWS = 40000; // of 1 KB: some eight flushes
const LIMIT_MB = 150;

describe('a transaction of 50 MB', { timeout: 120000 }, () => {
  const random = new Random(3);
  let w, client;
  before(async () => {
    w = await World.started({
      name: 'large',
      schema: `create table docs(id text primary key, n int, body text);
        insert into docs select 'd' || i, 0, repeat(md5(i::text), 30) from generate_series(1, ${ROWS}) i`,
      sync: 'bucket_definitions:\n  docs:\n    data:\n      - SELECT id, n FROM docs\n  bodies:\n    parameters: SELECT WHERE request.user_id() = \'nobody\'\n    data:\n      - SELECT * FROM docs\n'
    });
  });
  after(() => w?.destroy());

  /** Every complete checkpoint shows one state of the transaction. */
  const watch = (c) => {
    const complete = c.fold.complete.bind(c.fold);
    c.mixed = 0;
    c.fold.complete = (l) => {
      complete(l);
      if (new Set([...c.fold.rows('docs').values()].map((r) => r.n)).size > 1) c.mixed++;
    };
    return c;
  };

  test('killed in the middle, it is shown as a whole', async () => {
    client = await watch(w.client()).synced();
    await w.service.stop();
    await w.q(`update docs set n = 1, body = body || 'x'`);
    let seen = 0;
    for (let kills = 0; kills < 4; kills++) {
      await w.service.start();
      await eventually(() => /Streaming/.test(w.service.freshLog), { every: 5, what: () => w.service.tail() });
      const late = watch(w.client());
      await late.synced().catch(() => {});
      await sleep(random.below(250));
      await w.service.kill9();
      assert.equal(late.mixed, 0, 'a new client never sees a part of it');
      seen += late.fold.completes;
      late.close();
    }
    assert.ok(seen > 0, 'what was complete before is served meanwhile');
    await w.service.start();
    await client.caughtUp(60000);
    await client.equals('docs', 'select id, n from docs');
    assert.equal(client.mixed, 0);
  });

  test('its memory is bounded', async () => {
    let most = 0;
    const timer = setInterval(() => {
      const status = fs.readFileSync(`/proc/${w.service.child.pid}/status`, 'utf8');
      most = Math.max(most, Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    }, 10);
    await w.q(`update docs set n = 2, body = body || 'y'`);
    await client.caughtUp(60000);
    clearInterval(timer);
    await client.equals('docs', 'select id, n from docs');
    assert.equal(client.mixed, 0);
    assert.ok(most > 0 && most < LIMIT_MB, `${most.toFixed(0)} MB of anonymous memory at the peak`);
  });
});
