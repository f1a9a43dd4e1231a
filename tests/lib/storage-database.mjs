// A database for bucket storage on Postgres: empty, or restored from a dump.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import pg from 'pg';

let serial = 0;

export class StorageDatabase {
  static async create(name, { dump } = {}) {
    const d = new StorageDatabase();
    d.server = process.env.PG_URI;
    assert.ok(d.server, 'PG_URI names a Postgres server');
    d.name = `s_${name.replace(/\W/g, '_')}_${process.pid}_${++serial}`;
    d.uri = `${d.server}/${d.name}`;
    d.admin = new pg.Client({ connectionString: `${d.server}/postgres` });
    d.admin.on('error', () => {});
    await d.admin.connect();
    await d.admin.query(`create database "${d.name}"`);
    if (dump) await d.restore(dump);
    d.pool = new pg.Pool({ connectionString: d.uri, max: 4 });
    d.pool.on('error', () => {});
    return d;
  }

  async restore(file) {
    const psql = spawn('psql', ['-q', '-v', 'ON_ERROR_STOP=1', this.uri], { stdio: ['pipe', 'ignore', 'inherit'] });
    createReadStream(file).pipe(psql.stdin);
    const [code] = await once(psql, 'close');
    assert.equal(code, 0, `psql < ${file}`);
  }

  async q(sql, params) {
    return (await this.pool.query(sql, params)).rows;
  }

  /** The storage section of a configuration. */
  get config() {
    return { type: 'postgresql', uri: this.uri, sslmode: 'disable' };
  }

  /** Tables, columns, indexes, constraints and sequences of the schema, as text that can be compared. */
  async schema() {
    const columns = await this.q(
      `select format('%s.%s %s%s %s', table_name, column_name, data_type, case is_nullable when 'NO' then '!' else '' end, replace(column_default, 'powersync.', '')) as t
       from information_schema.columns where table_schema = 'powersync' and table_name not like 'syncline\\_%' order by table_name, ordinal_position`
    );
    const indexes = await this.q(`select replace(indexdef, 'powersync.', '') as t from pg_indexes where schemaname = 'powersync' and tablename not like 'syncline\\_%' order by indexname`);
    const constraints = await this.q(
      `select conname || ' ' || pg_get_constraintdef(oid) as t from pg_constraint where connamespace = 'powersync'::regnamespace and conrelid::regclass::text not like '%syncline\\_%' order by conname`
    );
    const sequences = await this.q(`select format('%s %s %s %s %s', sequencename, data_type, start_value, increment_by, cache_size) as t from pg_sequences where schemaname = 'powersync' order by 1`);
    return [...columns, ...indexes, ...constraints, ...sequences].map((r) => r.t);
  }

  async destroy() {
    await this.pool?.end().catch(() => {});
    await this.admin.query(`drop database if exists "${this.name}" with (force)`).catch(() => {});
    await this.admin.end().catch(() => {});
  }
}
