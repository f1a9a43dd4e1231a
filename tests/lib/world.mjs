// One source database and one service on it: what most tests stand on.
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { Service, temporaryFolder } from './service.mjs';
import { Fold, request, Stream } from './stream.mjs';
import { sign } from './token.mjs';
import { eventually, sleep } from './util.mjs';

const script = path.join(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), 'postgres.sh');
const run = promisify(execFile);
pg.types.setTypeParser(20, (v) => (Number.isSafeInteger(Number(v)) ? Number(v) : v));

const servers = new Set();
process.on('exit', () => {
  for (const folder of servers) execFileSync(script, ['stop', folder]);
});

/** A Postgres server of the caller's own, for tests that restart or reconfigure it. */
export class Postgres {
  static async start(...settings) {
    const { stdout } = await run(script, ['start', ...settings]);
    const p = new Postgres();
    [p.folder, p.uri] = stdout.trim().split(' ');
    servers.add(p.folder);
    return p;
  }
  restart(mode = 'fast') {
    return run(script, ['restart', this.folder, mode]);
  }
  /** Stops and starts the server on its folder, which can be exchanged in between. */
  stopOnly(mode = 'fast') {
    return run(script, ['down', this.folder, mode]);
  }
  startOnly() {
    return run(script, ['up', this.folder]);
  }
  async stop() {
    await run(script, ['stop', this.folder]);
    servers.delete(this.folder);
  }
}

let serial = 0;

export class World {
  /** `schema`: SQL; `sync`: sync config; `publication`: false leaves it out; `encoding`: of the database. The service is not started. */
  static async create({ name, schema, sync, config, env, postgres, publication = true, encoding }) {
    const w = new World();
    w.server = postgres?.uri ?? process.env.PG_URI;
    assert.ok(w.server, 'PG_URI names a Postgres server with wal_level = logical');
    w.database = `t_${name.replace(/\W/g, '_')}_${process.pid}_${++serial}`;
    w.admin = new pg.Client({ connectionString: `${w.server}/postgres` });
    w.admin.on('error', () => {});
    await w.admin.connect();
    await w.admin.query(`create database "${w.database}"${encoding ? ` encoding '${encoding}' locale 'C' template template0` : ''}`);
    w.sourceUri = `${w.server}/${w.database}`;
    w.pool = new pg.Pool({ connectionString: w.sourceUri, max: 12 });
    w.pool.on('error', () => {});
    if (schema) await w.pool.query(schema);
    if (publication) await w.pool.query('create publication powersync for all tables');
    w.service = new Service({ dir: temporaryFolder(name), sourceUri: w.sourceUri, sync, config, env });
    w.streams = new Set();
    return w;
  }

  static async started(options) {
    const w = await World.create(options);
    try {
      await w.service.start();
      await w.service.ready(options.readyTimeout);
    } catch (e) {
      await w.destroy();
      throw e;
    }
    return w;
  }

  get url() {
    return this.service.url;
  }

  async q(sql, params) {
    return (await this.pool.query(sql, params)).rows;
  }

  async tx(fn) {
    const c = await this.pool.connect();
    try {
      await c.query('begin');
      const r = await fn(c);
      await c.query('commit');
      return r;
    } catch (e) {
      await c.query('rollback').catch(() => {});
      throw e;
    } finally {
      c.release();
    }
  }

  request(method, route, { user = 'user1', ...options } = {}) {
    return request(this.url, method, route, { token: sign(user), ...options });
  }

  async stream({ user = 'user1', token = sign(user), body = {}, onLine } = {}) {
    const s = await Stream.open(this.url, { token, body, onLine });
    this.streams.add(s);
    return s;
  }

  client(options) {
    return new RawClient(this, options);
  }

  slots() {
    return this.q('select slot_name, active, confirmed_flush_lsn, restart_lsn from pg_replication_slots where database = current_database()');
  }

  /** After the service has ended; the server may still be about to notice that. */
  async dropSlots() {
    for (const s of await this.slots()) {
      await eventually(
        async () => {
          await this.q('select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active', [s.slot_name]);
          return (await this.slots()).some((o) => o.slot_name === s.slot_name && !o.active);
        },
        { what: () => `nobody uses the slot ${s.slot_name}` }
      );
      await this.q('select pg_drop_replication_slot($1)', [s.slot_name]);
    }
  }

  async destroy() {
    for (const s of this.streams) s.close();
    await this.service.stop().catch(() => {});
    await this.pool.end().catch(() => {});
    const { rows } = await this.admin.query('select slot_name, active_pid from pg_replication_slots where database = $1', [this.database]).catch(() => ({ rows: [] }));
    for (const s of rows) {
      if (s.active_pid) await this.admin.query('select pg_terminate_backend($1)', [s.active_pid]);
      await eventually(() => this.admin.query('select pg_drop_replication_slot($1)', [s.slot_name]), { timeout: 5000, what: 'slot dropped' }).catch(() => {});
    }
    await this.admin.query(`drop database if exists "${this.database}" with (force)`).catch(() => {});
    await this.admin.end().catch(() => {});
  }
}

/** A client made of a fold and of streams, which reconnects as the SDKs do. */
export class RawClient {
  constructor(world, { user = 'user1', id = `client-${++serial}`, body = {} } = {}) {
    Object.assign(this, { world, user, id, body });
    this.fold = new Fold();
    this.requests = 0;
  }

  async connect() {
    this.close();
    this.stream = await this.world.stream({
      user: this.user,
      body: { buckets: this.fold.positions(), client_id: this.id, ...this.body },
      onLine: (l) => this.fold.add(l)
    });
    return this;
  }

  /** Connects, as often as it takes, until a complete checkpoint has come. */
  async synced(timeout = 20000) {
    const before = this.fold.completes;
    await eventually(
      async () => {
        if (!this.stream || this.stream.ended) await this.connect();
        if (this.stream.failure) throw Object.assign(this.stream.failure, { fatal: true });
        return this.fold.completes > before;
      },
      { timeout, every: 20, what: () => `${this.id} is synced` }
    );
    return this;
  }

  /** Asks for a checkpoint; answers when it is acknowledged in a complete checkpoint: everything written before is here. Milliseconds. */
  async caughtUp(timeout = 20000) {
    const want = BigInt(++this.requests);
    const began = performance.now();
    await eventually(
      async () => {
        const body = { client_id: this.id, checkpoint_request_id: String(want) };
        const r = await this.world.request('POST', '/sync/checkpoint-request', { user: this.user, body });
        if (r.status !== 200) throw new Error(`checkpoint request answers ${r.status}: ${r.text}`);
        return true;
      },
      { timeout, what: 'checkpoint request taken' }
    );
    await eventually(
      async () => {
        if (!this.stream || this.stream.ended) await this.connect();
        if (this.stream.failure) throw Object.assign(this.stream.failure, { fatal: true });
        return BigInt(this.fold.writeCheckpoint ?? 0) >= want;
      },
      { timeout, every: 2, what: () => `${this.id}: checkpoint request ${want} acknowledged (at ${this.fold.writeCheckpoint}); the service's log ends:\n${this.world.service.tail(6)}` }
    );
    return performance.now() - began;
  }

  /** Compares the rows of an output table with a query that yields the same columns. `shape` turns a row of either side into text. */
  async equals(type, sql, shape = (r) => JSON.stringify(Object.entries(r).sort())) {
    const want = new Map((await this.world.q(sql)).map((r) => [String(r.id), shape(r)]));
    const have = new Map([...this.fold.rows(type)].map(([id, r]) => [id, shape(r)]));
    const differences = [];
    for (const [id, row] of want) if (have.get(id) !== row) differences.push(`${id}: source ${row.slice(0, 160)}, client ${String(have.get(id)).slice(0, 160)}`);
    for (const id of have.keys()) if (!want.has(id)) differences.push(`${id}: only at the client`);
    assert.equal(differences.length, 0, `${type} of ${this.id} differs from SQL in ${differences.length} rows:\n${differences.slice(0, 5).join('\n')}`);
  }

  /** The world forgets the stream, and so what the client holds. */
  close() {
    this.stream?.close();
    this.world.streams.delete(this.stream);
  }
}

export { eventually, sleep, sign };
