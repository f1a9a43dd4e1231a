// Tables and values that are allowed and seldom thought of. Every test ends in "clients equal SQL", for rows that were read as for
// rows that came by the stream.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const QUICK = (w) => ({ replication: { connections: [{ type: 'postgresql', uri: w.sourceUri, sslmode: 'disable', discovery_interval_seconds: 0.2 }] } });
const id = (name) => `"${name.replaceAll('"', '""')}"`;

// In the sync config a quoted name cannot have a quote, so a pattern names it.
const STRANGE = 'Tab.le "Q" Ünï%x; --';
const LONG = 'l'.repeat(63);
const LONG_COLUMN = `c.${'Ä'.repeat(30)}`;
const WIDE = Array.from({ length: 1500 }, (_, i) => `c${i}`);

const SCHEMA = `
  create schema "Odd Schema";
  create table "Odd Schema".${id(STRANGE)}("Key.1" text, "UPPER" int, "q""uote" text, primary key ("UPPER", "Key.1"));
  insert into "Odd Schema".${id(STRANGE)} select 'k.' || i, i, 'v' || i from generate_series(1, 20) i;
  create table ${LONG}(id text primary key, ${id(LONG_COLUMN)} int);
  insert into ${LONG} select 'l' || i, i from generate_series(1, 20) i;
  create table nothing();
  insert into nothing default values;
  create unlogged table some_unlogged(id text primary key, n int);
  insert into some_unlogged values ('u', 1);
  create table some_parent(id text primary key, n int);
  create table some_child(more text, primary key (id)) inherits (some_parent);
  insert into some_parent select 'p' || i, i from generate_series(1, 10) i;
  insert into some_child select 'c' || i, i, 'm' from generate_series(1, 10) i;
  create table wide(id text primary key, ${WIDE.map((c) => `${c} int`).join()});
  insert into wide(id, c0, c1499) values ('w1', 1, 2), ('w2', 3, 4);
  create table whole(id int, f float8, r float4, j jsonb, b bytea, t text);
  alter table whole replica identity full;
  alter table whole alter t set storage external;
  insert into whole values (1, 'NaN', 'Infinity', '{"a": 1}', '\\x00ff', repeat('t', 10000)), (2, '-0', '-Infinity', 'null', '', repeat('u', 10000)), (3, 0, 'NaN', '1', null, null);
  create table long_key(id text primary key, n int);
  alter table long_key alter id set storage plain;
  insert into long_key select repeat(md5(i::text), 80) || i, i from generate_series(1, 20) i;
  create table computed(id text primary key, g text generated always as (upper(id)) stored);
  insert into computed(id) values ('one');
  create table fk_top(id text primary key);
  create table fk_middle(id text primary key, top text references fk_top);
  create table fk_bottom(id text primary key, middle text references fk_middle);
  insert into fk_top select 't' || i from generate_series(1, 10) i;
  insert into fk_middle select 'm' || i, 't' || i from generate_series(1, 10) i;
  insert into fk_bottom select 'b' || i, 'm' || i from generate_series(1, 10) i;
  create table nested(id text primary key, n int);
  create domain numbers as int[];
  create domain some_numbers as numbers check (value is null or cardinality(value) > 0);
  create type pair as (a int, b text);
  create type pairs as (list pair[], one some_numbers);
  create table typed(id text primary key, d some_numbers, p pairs, a pairs[]);
  insert into typed values ('y', '{1,2}', row(array[row(1, 'x')::pair], '{3}'), array[row(array[row(2, 'q"')::pair], null)::pairs])`;

const SYNC = `config:\n  edition: 2
bucket_definitions:
  all:
    data:
      - SELECT "Key.1" AS id, * FROM "Odd Schema"."Tab.le %" AS strange
      - SELECT id, ${id(LONG_COLUMN)} AS n FROM ${LONG} AS long
      - SELECT * FROM nothing
      - SELECT * FROM "some_%" AS family
${['wide', 'long_key', 'computed', 'fk_top', 'fk_middle', 'fk_bottom', 'nested', 'typed'].map((t) => `      - SELECT * FROM ${t}\n`).join('')}      - SELECT id, CAST(f AS TEXT) AS f, CAST(r AS TEXT) AS r, j, hex(b) AS b, t FROM whole
`;

describe('tables that are seldom thought of', () => {
  let w, c;
  before(async () => {
    w = await World.create({ name: 'odd', schema: SCHEMA, sync: SYNC });
    w.service.config = QUICK(w);
    await w.service.start();
    await w.service.ready();
    c = await w.client().synced();
  });
  after(() => w?.destroy());

  async function same(type, sql) {
    await eventually(
      async () => {
        await c.caughtUp();
        await c.equals(type, sql);
        return true;
      },
      { timeout: 10000, every: 100, what: () => `${type} equals SQL; the service's log ends:\n${w.service.tail(12)}` }
    );
  }
  /** The same before, after some statements, and to a client that comes then. */
  async function followed(type, sql, ...statements) {
    await same(type, sql);
    for (const s of statements) await w.q(s);
    await same(type, sql);
  }

  test('names with dots, quotes, upper case and other letters, of tables and of key columns', async () => {
    const t = `"Odd Schema".${id(STRANGE)}`;
    await followed('strange', `select "Key.1" as id, * from ${t}`, `update ${t} set "q""uote" = 'new' where "UPPER" < 4`, `update ${t} set "UPPER" = 100 where "UPPER" = 5`, `delete from ${t} where "UPPER" > 18`);
  });

  test('names as long as they can be', () =>
    followed('long', `select id, ${id(LONG_COLUMN)} as n from ${LONG}`, `update ${LONG} set ${id(LONG_COLUMN)} = 7 where id = 'l1'`, `delete from ${LONG} where id = 'l2'`));

  test('a table without columns disturbs nobody', async () => {
    await w.q('insert into nothing default values');
    await w.q('truncate nothing');
    await w.q('alter table nothing add column id text, add column n int');
    await w.q(`insert into nothing values ('now', 1)`);
    await same('nothing', 'select * from nothing');
  });

  test('parents and children are tables of their own; an unlogged one comes when it is logged', async () => {
    const sql = `select id, n, null as more from only some_parent union all select id, n, more from some_child`;
    const shape = (r) => JSON.stringify([r.id, r.n, r.more ?? null]);
    const equal = (q) => eventually(async () => (await c.caughtUp(), await c.equals('family', q, shape), true), { every: 100, what: () => `family equals SQL:\n${w.service.tail()}` });
    await equal(sql);
    await w.q(`update some_parent set n = n + 1`); // of the child as well
    await w.q(`delete from some_parent where id in ('p1', 'c1')`);
    await equal(sql);
    const both = `${sql} union all select id, n, null from some_unlogged`;
    await w.q('alter table some_unlogged set logged');
    await equal(both);
    await w.q(`insert into some_unlogged values ('v', 2)`);
    await equal(both);
    await w.q('alter table some_unlogged set unlogged');
    await eventually(() => /"some_unlogged" is not in the publication any more/.test(w.service.log), { what: 'it is said' });
    await w.q(`update some_unlogged set n = 3; delete from some_unlogged where id = 'v'`);
    await w.q('alter table some_unlogged set logged');
    await equal(both);
    await w.q('alter table some_child no inherit some_parent');
    await w.q(`update some_parent set n = n + 1; insert into some_child values ('c99', 1, 'x')`);
    await equal(both);
  });

  test('1,500 columns', () => followed('wide', 'select * from wide', `update wide set c7 = 8 where id = 'w1'`, `insert into wide(id, c1400) values ('w3', 1)`));

  test('identity full: values that no comparison finds, and large ones that a change leaves alone', () =>
    followed(
      'whole',
      `select id, case when f = 0 then '0' else f::text end as f, r::text as r, j::text, coalesce(upper(encode(b, 'hex')), '') as b, t from whole`,
      `update whole set j = '{"a": 2}' where id = 1`,
      `update whole set t = repeat('v', 20000) where id = 2`,
      `update whole set f = 1 where id = 3`,
      `insert into whole values (4, 'NaN', 'NaN', null, null, repeat('w', 10000))`,
      `delete from whole where id = 1`
    ));

  test('keys of 2,600 bytes', () => followed('long_key', 'select * from long_key', `update long_key set n = n + 1 where n < 5`, `update long_key set id = 'x' || id where n > 18`, `delete from long_key where n = 10`));

  test('nothing but the key is not generated', () => followed('computed', 'select id from computed', `insert into computed(id) values ('two')`, `update computed set id = 'three' where id = 'one'`));

  test('TRUNCATE CASCADE over three tables, with rows before and after it, and one that is taken back', async () => {
    await w.tx(async (t) => {
      await t.query(`insert into fk_top values ('before')`);
      await t.query('savepoint s');
      await t.query('truncate fk_top cascade');
      await t.query('rollback to s');
      await t.query(`delete from fk_bottom where id = 'b1'`);
    });
    for (const t of ['fk_top', 'fk_middle', 'fk_bottom']) await same(t, `select * from ${t}`);
    await w.tx(async (t) => {
      await t.query(`update fk_middle set top = 't2'`);
      await t.query('truncate fk_top cascade');
      await t.query(`insert into fk_top values ('t1'), ('new'); insert into fk_middle values ('m1', 'new'); insert into fk_bottom values ('b1', 'm1')`);
      await t.query('truncate fk_bottom');
      await t.query(`insert into fk_bottom values ('b2', 'm1')`);
    });
    for (const t of ['fk_top', 'fk_middle', 'fk_bottom']) await same(t, `select * from ${t}`);
  });

  test('hundreds of savepoints, some within others, every third of them taken back', async () => {
    await w.q(`do $$ begin
      for i in 1..400 loop
        begin
          insert into nested select 's' || i || '_' || j, j from generate_series(1, 20) j;
          begin
            update nested set n = n + 1000 where id like 's' || i || '\\_1%';
            if i % 2 = 0 then raise exception 'inner'; end if;
          exception when raise_exception then null; end;
          if i % 3 = 0 then raise exception 'outer'; end if;
        exception when raise_exception then null; end;
      end loop; end $$`);
    await same('nested', 'select * from nested');
  });

  test('domains over arrays, composites of arrays of composites', async () => {
    const sql = `select id, to_json(d)::text as d, to_json(p)::text as p, to_json(a)::text as a from typed`;
    await followed('typed', sql, `update typed set d = '{5,NULL}'`, `insert into typed values ('z', null, row(null, null), '{}')`, `alter type pair add attribute c int`, `update typed set p = row(array[row(1, 'x', 2)::pair], '{3}') where id = 'z'`, `alter type pair rename attribute a to first`);
  });
});

describe('databases that are not UTF-8', () => {
  for (const [encoding, text] of [
    ['LATIN1', `'caf' || chr(233)`],
    ['SQL_ASCII', `'caf' || convert_from('\\xc3a9', 'SQL_ASCII')`]
  ])
    test(`${encoding}: ${text}`, async () => {
      const w = await World.started({ name: 'encoded', encoding, schema: `create table words(id text primary key, word text, list text[]); insert into words values ('read', ${text}, array[${text}])`, sync: 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM words\n' });
      try {
        const c = await w.client().synced();
        await w.q(`insert into words values ('streamed', ${text}, array[${text}])`);
        await c.caughtUp();
        await c.equals('words', 'select id, word, to_json(list)::text as list from words');
        assert.equal(c.fold.rows('words').size, 2);
      } finally {
        await w.destroy();
      }
    });
});
