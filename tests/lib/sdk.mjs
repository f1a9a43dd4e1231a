// A real client: the PowerSync Node SDK with its own database file, and an upload function that plays the application's backend.
import path from 'node:path';
import { PowerSyncDatabase, Schema, SyncStreamConnectionMethod, Table, column } from '@powersync/node';
import { sign } from './token.mjs';
import { eventually, within } from './util.mjs';

let serial = 0;

export class Sdk {
  /** `tables`: { lists: { name: 'text', n: 'integer' } }; `mode`: checkpointMode, 'legacy' or 'requests'. */
  static async open(world, { tables, user = 'user1', mode = 'legacy', transport = 'http', params, dir = world.service.dir } = {}) {
    const c = new Sdk();
    Object.assign(c, { world, user, mode, transport, params, errors: [], calls: [] });
    const schema = new Schema(
      Object.fromEntries(Object.entries(tables).map(([name, columns]) => [name, new Table(Object.fromEntries(Object.entries(columns).map(([k, t]) => [k, column[t]])))]))
    );
    c.db = new PowerSyncDatabase({
      schema,
      database: { dbFilename: `client-${process.pid}-${++serial}.db`, dbLocation: path.resolve(dir), implementation: { type: 'better-sqlite3' }, readWorkerCount: 1 },
      logger: { log: (r) => r.level >= 30 && c.errors.push(`${r.message} ${r.error?.message ?? ''}`) },
      remoteOptions: {
        customFetch: async (url, init) => {
          const answer = await fetch(url, init);
          c.calls.push({ route: new URL(url).pathname, status: answer.status });
          return answer;
        }
      }
    });
    await c.db.init();
    await c.connect();
    return c;
  }

  connect() {
    return this.db.connect(
      {
        fetchCredentials: async () => ({ endpoint: this.world.url, token: sign(this.user) }),
        uploadData: (db) => this.upload(db)
      },
      {
        connectionMethod: this.transport === 'ws' ? SyncStreamConnectionMethod.WEB_SOCKET : SyncStreamConnectionMethod.HTTP,
        checkpointMode: this.mode,
        retryDelayMs: 200,
        crudUploadThrottleMs: 20,
        params: this.params
      }
    );
  }

  /** Applies one local transaction to the source. */
  async upload(db) {
    const t = await db.getNextCrudTransaction();
    if (!t) return;
    await this.world.tx(async (pg) => {
      for (const e of t.crud) {
        const entries = Object.entries(e.opData ?? {});
        const names = entries.map(([k]) => `"${k}"`);
        const values = entries.map(([, v]) => v);
        if (e.op === 'PUT') await pg.query(`insert into "${e.table}" (id, ${names}) values (${['$1', ...names.map((_, i) => `$${i + 2}`)]})`, [e.id, ...values]);
        else if (e.op === 'PATCH') await pg.query(`update "${e.table}" set ${names.map((n, i) => `${n} = $${i + 2}`)} where id = $1`, [e.id, ...values]);
        else await pg.query(`delete from "${e.table}" where id = $1`, [e.id]);
      }
    });
    await t.complete();
  }

  async synced(timeout = 30000) {
    const gone = new AbortController();
    const timer = setTimeout(() => gone.abort(), timeout);
    await this.db.waitForFirstSync(gone.signal);
    clearTimeout(timer);
    if (!this.db.currentStatus.hasSynced) throw new Error(`no first sync within ${timeout} ms; ${this.errors.slice(-3)}; the service's log ends:\n${this.world.service.tail(6)}`);
    return this;
  }

  all(sql, params = []) {
    return this.db.getAll(sql, params);
  }

  until(sql, params, pred, timeout = 10000) {
    let row;
    return eventually(
      async () => {
        [row] = await this.all(sql, params);
        return pred(row) ? { row } : false;
      },
      { timeout, every: 20, what: () => `${sql} at the client; last ${JSON.stringify(row)?.slice(0, 200)}; ${this.errors.slice(-2)}` }
    );
  }

  /** Waits until the client's table has the rows of the query. */
  async equals(table, columns, sql, timeout = 20000) {
    const shape = (rows) => rows.map((r) => JSON.stringify(columns.map((k) => (typeof r[k] === 'boolean' ? Number(r[k]) : r[k])))).sort();
    let difference = '';
    await eventually(
      async () => {
        const want = shape(await this.world.q(sql));
        const have = shape(await this.all(`select ${columns} from ${table}`));
        const there = new Set(have);
        difference = `${want.length} rows wanted, ${have.length} here; first missing ${want.find((r) => !there.has(r))?.slice(0, 200)}`;
        return want.length === have.length && want.every((r, i) => r === have[i]);
      },
      { timeout, every: 100, what: () => `${table} equals the source: ${difference}; ${this.errors.slice(-2)}` }
    );
  }

  pendingUploads() {
    return this.all('select count(*) as n from ps_crud').then(([r]) => r.n);
  }

  requested(timeout = 15000) {
    return within(this.db.requestCheckpoint(), timeout, 'requestCheckpoint');
  }

  close() {
    return this.db.close().catch(() => {});
  }
}
