// A storage database that the reference wrote (a dump), turned into what it would be with another storage version, and a source that has the rows
// which are stored there.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { StorageDatabase } from './storage-database.mjs';
import { World } from './world.mjs';

const dumps = fileURLToPath(new URL('../data/vectors/storage-postgres-dumps', import.meta.url));
const VERSION_3 = `create table powersync.v3_current_data (group_id integer not null, source_table text not null, source_key bytea not null,
    constraint unique_v3_current_data_id primary key (group_id, source_table, source_key), buckets jsonb not null, data bytea not null, lookups bytea[] not null, pending_delete bigint);
  create index v3_current_data_pending_deletes on powersync.v3_current_data (group_id, pending_delete) where pending_delete is not null;
  insert into powersync.v3_current_data select group_id, source_table, source_key, buckets, data, lookups from powersync.current_data;
  delete from powersync.current_data`;
// Sync configs of edition 1 name buckets without the stream there; the others ask for it themselves.
const VERSION_1 = `update powersync.bucket_data set bucket_name = substr(bucket_name, 3);
  update powersync.current_data set buckets = (select coalesce(jsonb_agg(jsonb_set(b, '{bucket}', to_jsonb(substr(b ->> 'bucket', 3))) order by n), '[]') from jsonb_array_elements(buckets) with ordinality e(b, n))`;

/** The columns of a BSON row, as texts; NULL as null. Integers and texts are all that the dumps have. */
export function bsonRow(bytes) {
  const row = {};
  for (let at = 4; bytes[at]; ) {
    const kind = bytes[at++];
    const end = bytes.indexOf(0, at);
    const name = bytes.toString('utf8', at, end);
    at = end + 1;
    if (kind === 0x02) {
      const n = bytes.readInt32LE(at);
      row[name] = bytes.toString('utf8', at + 4, at + 3 + n);
      at += 4 + n;
    } else if (kind === 0x12) {
      row[name] = String(bytes.readBigInt64LE(at));
      at += 8;
    } else if (kind === 0x0a) row[name] = null;
    else throw new Error(`kind ${kind} in a row`);
  }
  return row;
}

function valueSql(type, n) {
  if (type === 'ARRAY') return `(select array_agg(x order by i) from jsonb_array_elements_text($${n}::jsonb) with ordinality e(x, i))`;
  return type === 'boolean' ? `$${n}::int::boolean` : `$${n}::${type}`;
}

/** { db, w, text(file) }: nothing is started. */
export async function referenceStore(name, kind, version) {
  const text = (file) => fs.readFileSync(path.join(dumps, kind, file), 'utf8');
  const db = await StorageDatabase.create(name, { dump: path.join(dumps, kind, 'storage.sql') });
  if (version === 1 && kind === 'legacy') await db.q(VERSION_1);
  if (version === 3) await db.q(VERSION_3);
  await db.q(`update powersync.sync_rules set storage_version = ${version}`);
  const w = await World.create({ name, schema: text('source.sql').replace(/create publication.*/, ''), sync: text('sync-config.yaml'), config: { storage: db.config } });
  await w.q('truncate lists, todos, members');
  for (const table of ['lists', 'todos', 'members']) {
    const types = new Map((await w.q('select column_name, data_type from information_schema.columns where table_name = $1', [table])).map((c) => [c.column_name, c.data_type]));
    const images = await db.q(`select data from powersync.${version === 3 ? 'v3_' : ''}current_data join powersync.source_tables t on t.id = source_table where table_name = $1`, [table]);
    for (const row of images.map((i) => bsonRow(i.data))) {
      const names = Object.keys(row);
      await w.q(`insert into ${table} (${names}) values (${names.map((c, i) => valueSql(types.get(c), i + 1))})`, Object.values(row));
    }
  }
  // The source is a copy of the one that was replicated: its slot, its position, its tables' oids.
  const [{ slot_name: slot }] = await db.q('select slot_name from powersync.sync_rules');
  const [{ lsn }] = await w.q("select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')", [slot]);
  const position = lsn.split('/').map((h) => h.padStart(8, '0')).join('/');
  await db.q('update powersync.sync_rules set last_checkpoint_lsn = $1, no_checkpoint_before = $1', [position]);
  for (const r of await w.q("select relname, oid::int from pg_class where relname in ('lists', 'todos', 'members')"))
    await db.q("update powersync.source_tables set relation_id = jsonb_build_object('object_id', $2::int) where table_name = $1", [r.relname, r.oid]);
  return { db, w, text, position };
}
