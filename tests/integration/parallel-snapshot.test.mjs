// Large tables are read in ranges side by side: for every kind of key, with writers, with kill -9 at random instants. Clients must hold
// what SQL selects, and what was read and stored is not read again. SNAPSHOT_SEED chooses another run.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Random, eventually, sleep } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SEED = Number(process.env.SNAPSHOT_SEED ?? 11);
const ROWS = 16000;
const KILLS = 5;

// columns: of the key; key(i): SQL expressions of them, different for different i; order is nothing like that of i.
const odd = (i) => `chr(33 + (${i}) % 60) || repeat('é', (${i}) % 3) || E'\\\\\\'"\\t' || (${i}) || chr(8364)`;
const tables = {
  k_int: { columns: 'k int primary key', key: (i) => [`(${i}) * 7919 % 1000003 - 500000`] },
  k_bigint: { columns: 'k bigint primary key', key: (i) => [`9223372036854775807 - (${i})::bigint * 4611686018427`] },
  k_uuid: { columns: 'k uuid primary key', key: (i) => [`md5((${i})::text)::uuid`] },
  k_text: { columns: 'k text primary key', key: (i) => [odd(i)] },
  k_icu: { columns: 'k text collate "de-x-icu" primary key', key: (i) => [odd(i)] },
  k_fold: { columns: 'k text collate anycase primary key', key: (i) => [`case when (${i}) % 2 = 0 then 'Ä' else 'b' end || (${i})`] },
  k_numeric: { columns: 'k numeric primary key', key: (i) => [`case (${i}) when 5 then 'NaN'::numeric else ((${i}) - 8000)::numeric ^ 3 / 3 end`] },
  k_time: {
    columns: 'k timestamp primary key',
    key: (i) => [`case (${i}) when 3 then 'infinity'::timestamp when 4 then '-infinity' else '0044-03-15 BC'::timestamp + (${i}) * interval '47 days 1.000001 s' end`]
  },
  k_pair: { columns: 'a text, b int, primary key (b, a)', key: (i) => [odd(`(${i}) % 50`), `(${i}) / 50`] },
  k_mixed: { columns: 'a citext, b bigint, c uuid, primary key (a, b, c)', key: (i) => [`'X' || ((${i}) % 7)`, `(${i}) % 1000`, `md5((${i})::text)::uuid`] },
  k_index: { columns: 'k date not null unique', key: (i) => [`'2000-01-01'::date + (${i})`], more: 'replica identity using index k_index_k_key' },
  k_nullable: { columns: 'k int unique', key: (i) => [`case when (${i}) % 3 = 0 then null else (${i}) end`], more: 'replica identity full' },
  k_nothing: { columns: 'k int', key: (i) => [`${i}`], more: 'replica identity nothing', onlyInserts: true }
};

const names = Object.keys(tables);
const insert = (name, i, from = '') => `insert into ${name} select ${tables[name].key(i).join(', ')}, 'r' || (${i}), repeat(md5((${i})::text), 5) ${from}`;
const schema = `create extension citext; create collation anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  ${names
    .map((n) => {
      const [columns, constraint] = tables[n].columns.split(/, (?=primary key)/);
      return `create table ${n}(${columns}, rid text not null, pad text${constraint ? `, ${constraint}` : ''});
        ${tables[n].more ? `alter table ${n} ${tables[n].more};` : ''} ${insert(n, 'i', `from generate_series(1, ${ROWS}) i`)};`;
    })
    .join('\n')}`;
const sync = `bucket_definitions:\n  all:\n    data:\n${names.map((n) => `      - SELECT rid AS id, pad FROM ${n}`).join('\n')}\n`;

/** Inserts, updates, deletes, keys that move to anywhere in their order. */
class KeyWriters {
  constructor(world, random) {
    Object.assign(this, { world, random, next: ROWS + 1 });
  }
  start() {
    this.stopping = false;
    this.running = Promise.all([this.loop(), this.loop()]);
  }
  stop() {
    this.stopping = true;
    return this.running;
  }
  async loop() {
    const { world, random } = this;
    while (!this.stopping) {
      const name = random.pick(names);
      const rid = `r${1 + random.below(ROWS)}`;
      const kind = tables[name].onlyInserts ? 0 : random.below(4);
      const [columns] = tables[name].columns.split(/, (?=primary key)/);
      const keys = columns.split(', ').map((c) => c.split(' ')[0]);
      if (kind === 0) await world.q(insert(name, this.next++));
      else if (kind === 1) await world.q(`update ${name} set pad = $1 where rid = $2`, [random.text(100), rid]);
      else if (kind === 2) await world.q(`delete from ${name} where rid = $1`, [rid]);
      else await world.q(`update ${name} set (${keys.join(', ')}) = row(${tables[name].key(this.next++).join(', ')}) where rid = $1`, [rid]);
      await sleep(random.below(8));
    }
  }
}

describe(`tables read in ranges, seed ${SEED}`, { timeout: 180000 }, () => {
  const random = new Random(SEED);
  let w, writers;
  before(async () => {
    w = await World.create({ name: 'ranges', schema, sync });
    writers = new KeyWriters(w, random);
  });
  after(async () => {
    await writers?.stop().catch(() => {});
    await w?.destroy();
  });

  const complete = (log) => new Map([...log.matchAll(/Replicated "public"\."(\w+)": (\d+) rows/g)].map((m) => [m[1], Number(m[2])]));

  test(`killed ${KILLS} times at random instants, every table is read to its end once`, async () => {
    const doneBefore = new Set();
    writers.start();
    for (let kills = 0; kills < KILLS && doneBefore.size < names.length; kills++) {
      await w.service.start();
      if (kills > 0) await eventually(() => /To replicate|resuming|Streaming/.test(w.service.freshLog), { every: 5, what: () => w.service.tail() });
      await sleep(random.below(500));
      const seen = w.service.freshLog;
      await sleep(600); // whatever is told as complete there is on disk by then
      await w.service.kill9();
      for (const name of doneBefore) assert.doesNotMatch(w.service.freshLog, new RegExp(`repl\\w+: "public"."${name}"|Replicat\\w+ "public"."${name}"`, 'i'), `${name} was complete`);
      for (const name of complete(seen).keys()) doneBefore.add(name);
    }
    await w.service.start();
    await w.service.ready(60000);
    await writers.stop();
    const resumed = [...w.service.log.matchAll(/Replicating "public"\."(\w+)" (\d+)\/\S* - resuming/g)];
    assert.ok(resumed.length > 0, `some table was resumed:\n${w.service.log}`);
    // What the writers insert and delete meanwhile is read, or not; whole chunks that were read twice would show.
    for (const [name, rows] of complete(w.service.log))
      assert.ok(Math.abs(rows - ROWS) < 2000, `${rows} rows of ${name} were applied`);
    const client = await w.client().synced();
    await client.caughtUp(60000);
    for (const name of names) await client.equals(name, `select rid as id, pad from ${name}`);
    console.log(`# ${w.service.starts} starts, ${doneBefore.size} tables complete before the last, resumed: ${resumed.map((m) => `${m[1]} at ${m[2]}`).join(', ')}`);
    client.close();
  });

  test('a lost slot: all of them are compared, in ranges as well', async () => {
    await w.service.stop();
    for (const name of names) {
      if (tables[name].onlyInserts) continue;
      await w.q(`delete from ${name} where rid like 'r1%5'`);
      await w.q(`update ${name} set pad = 'while nobody looked' where rid like 'r2%7'`);
    }
    await eventually(async () => (await w.q('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()')).length === 1, { what: 'the slot is dropped' });
    writers.start();
    await w.service.start();
    await w.service.ready();
    await sleep(300);
    await writers.stop();
    await eventually(() => complete(w.service.freshLog).size === names.length, { timeout: 60000, what: () => `all tables are compared:\n${w.service.tail()}` });
    const client = await w.client().synced();
    await client.caughtUp(60000);
    for (const name of names) await client.equals(name, `select rid as id, pad from ${name}`);
  });
});
