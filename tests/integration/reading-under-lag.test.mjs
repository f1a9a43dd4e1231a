// The stream lags behind by what a busy minute writes while a table is read (interleaved-snapshot 9: 9). Chunks wait for the stream, so no
// more of them are fetched than fit; what the stream brings later meets them.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { deploy } from '../lib/deploy.mjs';
import { SourceRelay } from '../lib/relay.mjs';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const ROWS = 40000; // of 1 KB
const ROUNDS = 3; // each writes all of them anew
const LIMIT_MB = 150;
const BEFORE = 'bucket_definitions:\n  log:\n    data:\n      - SELECT * FROM log\n';
const AFTER = `${BEFORE}  docs:\n    data:\n      - SELECT id, n, body FROM docs\n`;

describe('the stream lags while a table is read', { timeout: 120000 }, () => {
  let w, c, timer, most = 0;
  before(async () => {
    w = await World.create({
      name: 'lag',
      schema: `create table log(id int primary key, line text);
        create table docs(id int primary key, n int, body text);
        insert into docs select i, 0, repeat(md5(i::text), 30) from generate_series(1, ${ROWS}) i; analyze`,
      sync: BEFORE
    });
    w.relay = await SourceRelay.before(w.sourceUri);
    w.service.config = { replication: { connections: [{ type: 'postgresql', uri: w.relay.uri, sslmode: 'disable' }] } };
    await w.service.start();
    await w.service.ready();
    c = await w.client().synced();
    timer = setInterval(() => {
      const status = fs.readFileSync(`/proc/${w.service.child.pid}/status`, 'utf8');
      most = Math.max(most, Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1024);
    }, 10);
  });
  after(async () => {
    clearInterval(timer);
    await w?.destroy();
    await w?.relay.close();
  });

  test('what is active is served, memory is bounded, and in the end clients equal SQL', async () => {
    await deploy(w, AFTER, { until: /To replicate: "public"."docs"/ });
    w.relay.hold();
    for (let round = 1; round <= ROUNDS; round++) {
      for (let from = 0; from < ROWS; from += ROWS / 8)
        await w.q(`update docs set n = ${round}, body = repeat(md5((id * ${round})::text), 30) where id > $1 and id <= $2`, [from, from + ROWS / 8]);
      // Over to the other side of the readers, both ways, and away.
      await w.q(`update docs set id = id + 1000000 where id % 97 = ${round}`);
      await w.q(`update docs set id = -id where id % 89 = ${round} and id > 1000000`);
      await w.q(`delete from docs where id % 101 = ${round}`);
      await w.q('insert into log values ($1, $2)', [round, 'x']);
    }
    const late = await w.client({ user: 'late' }).synced();
    assert.equal(late.fold.rows('log').size, 0, 'served as of the place where the stream stands');
    assert.equal(late.fold.rows('docs').size, 0);
    late.close();
    w.relay.release();
    await c.caughtUp(60000);
    await c.equals('log', 'select * from log');
    await eventually(() => /Activated the sync config[^]*Activated the sync config/.test(w.service.log), { timeout: 60000, what: () => `activation:\n${w.service.tail()}` });
    await c.caughtUp();
    await c.equals('docs', 'select * from docs');
    assert.ok(most > 0 && most < LIMIT_MB, `${most.toFixed(0)} MB of anonymous memory at the peak`);
    console.log(`# ${most.toFixed(0)} MB of anonymous memory at the peak`);
  });
});
