// Random writers for the crash tests: what a busy application does to its tables, with the habits that trip replication up.
import pg from 'pg';
import { Random, sleep } from './util.mjs';

/** Tables that the writers know. `rows` of items; `fixed` is written by nobody. */
export const schema = (rows, fixed = 0) => `
  create table items(id text primary key, owner text not null, n int not null default 0, body text);
  alter table items alter column body set storage external;
  create table pairs(a int, b text, note text, primary key (a, b));
  alter table pairs replica identity full;
  create table events(id text primary key, line text);
  create table fixed(id int primary key, body text);
  insert into items select 'i' || i, 'user' || (i % 7), 0, case when i % 50 = 0 then repeat(md5(i::text), 100) else md5(i::text) end from generate_series(1, ${rows}) i;
  insert into pairs select i, 'b' || i, md5(i::text) from generate_series(1, 500) i;
  insert into events select 'e' || i, 'line ' || i from generate_series(1, 100) i;
  insert into fixed select i, repeat(md5(i::text), 4) from generate_series(1, ${fixed}) i;
  analyze`;

export const sync = `bucket_definitions:
  everything:
    data:
      - SELECT * FROM items
      - SELECT a || '/' || b AS id, a, b, note FROM pairs
      - SELECT * FROM events
  fixed:
    data:
      - SELECT id, body FROM fixed
  mine:
    parameters: SELECT request.user_id() AS owner
    data:
      - SELECT id, owner, n FROM items WHERE items.owner = bucket.owner
`;

/** What a client must hold; bucket "mine" has fewer columns, so the newest operation decides: compare the columns both have. */
export const queries = {
  items: `select id, owner, n from items`,
  pairs: `select a || '/' || b as id, a, b, note from pairs`,
  events: `select * from events`,
  fixed: `select id::text, body from fixed`
};
const pick = (columns) => (r) => JSON.stringify(columns.map((k) => (k === 'id' ? String(r[k]) : r[k])));
export const shapes = {
  items: pick(['id', 'owner', 'n']),
  pairs: pick(['id', 'a', 'b', 'note']),
  events: pick(['id', 'line']),
  fixed: pick(['id', 'body'])
};

/** Bodies are in the bucket "everything" alone: every row of items there must have the body that SQL has. */
export async function bodiesEqual(world, fold) {
  const want = new Map((await world.q('select id, body from items')).map((r) => [r.id, r.body]));
  const bucket = [...fold.buckets].find(([name]) => name.includes('everything'))[1];
  const wrong = [];
  let n = 0;
  for (const r of bucket.rows.values()) {
    if (r.type !== 'items') continue;
    n++;
    if (JSON.parse(r.data).body !== want.get(r.id)) wrong.push(r.id);
  }
  if (wrong.length || n !== want.size) throw new Error(`${wrong.length} bodies differ (${wrong.slice(0, 5)}), ${n} rows of ${want.size}`);
}

export class Writers {
  constructor(uri, seed, count = 4) {
    this.uri = uri;
    this.seed = seed;
    this.count = count;
    this.transactions = 0;
    this.serial = 0;
    this.faults = [];
  }

  start() {
    this.stopping = false;
    this.loops = Array.from({ length: this.count }, (_, i) => this.loop(i).catch((e) => this.faults.push(e)));
  }

  async stop() {
    this.stopping = true;
    await Promise.all(this.loops);
    if (this.faults.length) throw this.faults[0];
  }

  async loop(index) {
    const random = new Random(this.seed * 1000 + index + (this.generation = (this.generation ?? 0) + 1) * 7919);
    const c = new pg.Client({ connectionString: this.uri });
    await c.connect();
    try {
      // One of them commits as the service must not trust: visible before it is in the WAL on disk.
      if (index % 2 === 1) await c.query('set synchronous_commit = off');
      while (!this.stopping) {
        try {
          await this.transaction(c, random);
          this.transactions++;
        } catch (e) {
          await c.query('rollback');
          // Deadlocks, keys taken, and serialisation are part of the game.
          if (!['40P01', '23505', '40001', '55P03'].includes(e.code)) throw e;
        }
        await sleep(random.below(6));
      }
    } finally {
      await c.end();
    }
  }

  async transaction(c, r) {
    await c.query('begin');
    const statements = r.chance(0.05) ? 40 : 1 + r.below(4);
    for (let i = 0; i < statements; i++) await this.statement(c, r);
    if (r.chance(0.1)) {
      await c.query('savepoint s');
      await this.statement(c, r);
      await c.query(r.chance(0.5) ? 'rollback to s' : 'release s');
    }
    if (r.chance(0.05)) await c.query('rollback');
    else if (r.chance(0.05)) {
      const name = `tp${process.pid}_${++this.serial}`;
      await c.query(`prepare transaction '${name}'`);
      await sleep(r.below(20));
      await c.query(r.chance(0.8) ? `commit prepared '${name}'` : `rollback prepared '${name}'`);
    } else await c.query('commit');
  }

  /** A key that exists most of the time; few of them are hot. */
  key(r) {
    return `i${1 + (r.chance(0.5) ? r.below(60) : r.below(5000))}`;
  }

  async statement(c, r) {
    const kind = r.below(100);
    const id = this.key(r);
    if (kind < 25) await c.query('insert into items values ($1, $2, $3, $4) on conflict (id) do update set n = items.n + 1', [id, `user${r.below(7)}`, r.below(1000), r.text(r.chance(0.3) ? 4000 : 40)]);
    else if (kind < 50) await c.query('update items set n = n + 1 where id = $1', [id]);
    else if (kind < 58) await c.query('update items set body = $2 where id = $1', [id, r.text(r.chance(0.7) ? 5000 : 20)]);
    else if (kind < 64) await c.query('update items set owner = $2 where id = $1', [id, `user${r.below(7)}`]);
    else if (kind < 70) await c.query('delete from items where id = $1', [id]);
    else if (kind < 76) await c.query('update items set id = $2 where id = $1', [id, this.key(r)]); // the body often stays: it comes as unchanged TOAST
    else if (kind < 79) {
      const other = this.key(r);
      if (other !== id) {
        await c.query(`update items set id = 'swap' || pg_backend_pid() where id = $1`, [id]);
        await c.query('update items set id = $1 where id = $2', [id, other]);
        await c.query(`update items set id = $1 where id = 'swap' || pg_backend_pid()`, [other]);
      }
    } else if (kind < 86) await c.query('insert into pairs values ($1, $2, $3) on conflict (a, b) do update set note = excluded.note', [r.below(600), `b${r.below(600)}`, r.text(10)]);
    else if (kind < 90) await c.query('update pairs set a = (a + 600) % 1200 where a % 50 = $1', [r.below(50)]);
    else if (kind < 93) await c.query('delete from pairs where a = $1', [r.below(600)]);
    else if (kind < 99) await c.query(`insert into events values ($1, $2) on conflict (id) do nothing`, [`e${r.below(100000)}`, r.text(30)]);
    else {
      await c.query(`set local lock_timeout = '2s'`);
      await c.query('truncate events');
    }
  }
}
