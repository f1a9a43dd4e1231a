// Tables change while the service is away, with rows written before and after. The catalogue knows the tables as they are in the end, the
// stream brings first what was written before. At every complete checkpoint a client has the tables as they were at some commit, never
// with rows missing for a moment. The catalogue is looked at when an attempt begins, and not again while the tests run.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../lib/util.mjs';
import { SourceRelay } from '../lib/relay.mjs';
import { World } from '../lib/world.mjs';

const KEYED = 'alter table $t add primary key (id)';
const FULL = 'alter table $t replica identity full';
const NOT_KEYED = 'alter table $t drop constraint $t_pkey';
const BY_N = 'alter table $t drop constraint $t_pkey, add primary key (n)';
const BACK = 'alter table $t drop constraint $t_pkey, add primary key (id)';

/** What it is before (none: a primary key), and what is done. WRITE: rows are written in between. */
const IDENTITIES = {
  moved: ['the primary key moves to another column', '', [BY_N]],
  wider: ['a column joins the primary key', '', ['alter table $t drop constraint $t_pkey, add primary key (id, n)']],
  whole: ['identity full', '', [FULL]],
  whole_no_more: ['identity full before, the primary key after', FULL, ['alter table $t replica identity default']],
  indexed: ['an index is the identity', '', ['create unique index $t_n on $t(n)', 'alter table $t replica identity using index $t_n']],
  keyed_no_more: ['no identity any more', '', [NOT_KEYED]],
  keyed: ['no identity before, a primary key after', NOT_KEYED, [KEYED]],
  retyped: ['another column of another type', '', ['alter table $t alter n type bigint, drop constraint $t_pkey, add primary key (n)']],
  there_and_back: ['another primary key for a while', '', [BY_N, 'WRITE', BACK]],
  and_more: ['columns change with the primary key', '', ['alter table $t add column more int not null default 7, drop constraint $t_pkey, add primary key (n)', 'WRITE', 'alter table $t drop column body']]
};
const names = Object.keys(IDENTITIES);
const rows = (t) => `create table ${t}(id text primary key, n int not null, body text);
  insert into ${t} select 'r' || i, i, md5(i::text) from generate_series(1, 20) i;`;
const of = (t, sql) => sql.replaceAll('$t', t);
const shape = (list) => JSON.stringify(list.map((r) => JSON.stringify(Object.entries(r).sort())).sort());

/** A world before whose source a relay stands, and a client that calls `look` at each complete checkpoint. */
async function behindRelay(options, look) {
  const w = await World.create(options);
  w.relay = await SourceRelay.before(w.sourceUri);
  w.service.config = { ...options.config, replication: { connections: [{ type: 'postgresql', uri: w.relay.uri, sslmode: 'disable', discovery_interval_seconds: 300 }] } };
  await w.service.start();
  await w.service.ready();
  const c = w.client();
  const complete = c.fold.complete.bind(c.fold);
  c.fold.complete = (line) => {
    complete(line);
    look(c.fold);
  };
  await c.synced();
  return [w, c];
}

describe('the identity changes while the service is away', () => {
  let w, c;
  let fresh = 100;
  const states = Object.fromEntries(names.map((t) => [t, []]));
  const seen = Object.fromEntries(names.map((t) => [t, []]));

  before(async () => {
    [w, c] = await behindRelay(
      {
        name: 'identity_away',
        schema: names.map((t) => rows(t) + of(t, IDENTITIES[t][1] && `${IDENTITIES[t][1]};`)).join(''),
        sync: `bucket_definitions:\n  all:\n    data:\n${names.map((t) => `      - SELECT * FROM ${t}\n`).join('')}`
      },
      (fold) => {
        for (const t of names) {
          const s = shape([...fold.rows(t).values()]);
          if (s !== seen[t].at(-1)) seen[t].push(s);
        }
      }
    );
    for (const t of names) await note(t);
  });
  after(async () => {
    await w?.destroy();
    await w?.relay?.close();
  });

  const note = async (t) => states[t].push(shape(await w.q(`select * from ${t}`)));
  async function write(t) {
    const [{ full }] = await w.q(`select relreplident = 'f' or exists (select from pg_index where indrelid = oid and (indisprimary or indisreplident)) as full from pg_class where relname = $1`, [t]);
    const statements = [`insert into ${t}(id, n) values ('x${++fresh}', ${fresh})`];
    if (full)
      statements.push(
        `update ${t} set n = n + 5000 where n % 4 = 1 and n < 5000`,
        `delete from ${t} where n = (select min(n) from ${t})`,
        `update ${t} set id = id || '!', n = n + 1000 where n = (select min(n) from ${t})`
      );
    for (const sql of statements) {
      await w.q(sql);
      await note(t);
    }
  }

  for (const t of names)
    for (const writeAfter of [false, true])
      test(IDENTITIES[t][0] + (writeAfter ? ', and rows are written afterwards' : ''), async () => {
        if (writeAfter) {
          const [{ primary }] = await w.q(`select coalesce((select indexrelid::regclass::text from pg_index where indrelid = oid and indisprimary), '') as primary from pg_class where relname = $1`, [t]);
          await w.q(`alter table ${t} replica identity default; drop index if exists ${t}_n; ${primary ? of(t, NOT_KEYED) : ''}; ${of(t, `${KEYED}; ${IDENTITIES[t][1]}`)};
            alter table ${t} drop column if exists more, add column if not exists body text`);
          await note(t);
        }
        await w.q(`insert into ${t}(id, n) values ('seen${++fresh}', ${fresh})`);
        await note(t);
        await eventually(async () => (await c.caughtUp(), shape([...c.fold.rows(t).values()]) === states[t].at(-1)), { what: () => `${t} equals SQL before; the log ends:\n${w.service.tail()}` });
        seen[t].splice(0, seen[t].length - 1);
        states[t].splice(0, states[t].length - 1);
        w.relay.away();
        await write(t);
        for (const step of IDENTITIES[t][2]) {
          if (step === 'WRITE') await write(t);
          else await w.q(of(t, step));
          await note(t);
        }
        if (writeAfter) await write(t);
        w.relay.back();
        await c.caughtUp();
        await c.equals(t, `select * from ${t}`);
        let at = 0;
        for (const s of seen[t]) {
          const next = states[t].indexOf(s, at);
          assert.ok(next >= 0, `at a complete checkpoint the client had ${JSON.parse(s).length} rows, ${states[t].includes(s) ? 'as of an earlier commit' : 'as there never were'}; the log ends:\n${w.service.tail(30)}`);
          at = next;
        }
      });
});

describe('rows move to another table, and the one that they leave goes, while the service is away', () => {
  const gone = { dropped: 'drop table $t', renamed: 'alter table $t rename to $t_unused', hidden: 'create schema if not exists away; alter table $t set schema away', replaced: 'alter table $t rename to $t_old; create table $t(id text primary key, n int not null, body text)' };
  let w, c;
  const missing = [];
  before(async () => {
    [w, c] = await behindRelay(
      {
        name: 'moved_away',
        schema: ['home', ...Object.keys(gone)].map(rows).join('') + 'delete from home',
        sync: `bucket_definitions:\n  all:\n    data:\n${['home', ...Object.keys(gone)].map((t) => `      - SELECT * FROM ${t}\n`).join('')}`
      },
      (fold) => {
        for (const t of Object.keys(gone)) {
          const n = fold.rows(t).size + [...fold.rows('home').keys()].filter((id) => id.startsWith(t)).length;
          if (n !== 20) missing.push(`${t}: ${n} of 20 rows`);
        }
      }
    );
  });
  after(async () => {
    await w?.destroy();
    await w?.relay?.close();
  });

  for (const [t, sql] of Object.entries(gone))
    test(t, async () => {
      w.relay.away();
      await w.q(`with moved as (delete from ${t} where n > 5 returning *) insert into home select '${t}' || id, n, body from moved`);
      await w.q(`with moved as (delete from ${t} returning *) insert into home select '${t}' || id, n, body from moved`);
      await w.q(of(t, sql));
      w.relay.back();
      await c.caughtUp();
      await c.equals('home', 'select * from home');
      assert.equal(c.fold.rows(t).size, 0);
      assert.deepEqual(missing, [], w.service.tail(20));
    });
});

test('a table without identity is read again when the process is killed: its rows are not missing meanwhile', async () => {
  const sizes = new Set();
  const [w, c] = await behindRelay(
    { name: 'keyless_away', schema: `create table log(id text, n int); insert into log select 'l' || i, i from generate_series(1, 20000) i; create table other(id text primary key)`, sync: 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM log\n      - SELECT * FROM other\n' },
    (fold) => sizes.add(fold.rows('log').size)
  );
  const blocker = await w.pool.connect();
  try {
    await w.q('alter table log add column more int default 3');
    await w.q(`insert into log values ('last', 0, 4)`);
    // The reading has begun, and what was stored is gone.
    await eventually(() => /it is read in one transaction[^]*it is read in one transaction/.test(w.service.log), { every: 1, what: () => w.service.tail() });
    await w.service.kill9();
    await blocker.query('begin; lock table log in access exclusive mode');
    await w.service.start();
    await w.service.listening();
    await c.connect();
    await w.q(`insert into other values ('meanwhile')`);
    await eventually(() => /Reading "public"."log" failed/.test(w.service.freshLog), { what: () => w.service.tail() });
    await blocker.query('commit');
    // A new column reaches old rows when the table was read anew, which no acknowledgement waits for.
    await eventually(async () => (await c.caughtUp(), await c.equals('log', 'select * from log'), true), { what: 'the table is read' });
    await c.equals('other', 'select * from other');
    assert.deepEqual([...sizes].filter((n) => n < 20000), [], w.service.tail(20));
  } finally {
    blocker.release();
    await w.destroy();
    await w.relay.close();
  }
});
