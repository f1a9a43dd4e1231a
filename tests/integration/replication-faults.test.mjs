// What can happen to the source and to the way there. The stored data is served throughout, replication comes back by itself, and in the end the
// clients equal SQL.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { deploy } from '../lib/deploy.mjs';
import { SourceRelay } from '../lib/relay.mjs';
import { eventually, sleep } from '../lib/util.mjs';
import { Postgres, World } from '../lib/world.mjs';

const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM items\n      - SELECT * FROM log\n';
const SCHEMA = (rows) => `create table items(id text primary key, n int, body text);
  insert into items select 'i' || i, i, repeat(md5(i::text), 4) from generate_series(1, ${rows}) i;
  create table log(id int primary key, line text)`;

/** A world whose service reaches the source through a relay, as the given role. Not started. */
async function relayed({ role, seconds = 0.2, ...options }) {
  const w = await World.create({ sync: SYNC, schema: SCHEMA(100), ...options });
  const u = new URL(w.sourceUri);
  if (role) u.username = role;
  w.relay = await SourceRelay.before(u.toString());
  w.service.config = {
    replication: { connections: [{ type: 'postgresql', uri: w.relay.uri, sslmode: 'disable', discovery_interval_seconds: seconds, heartbeat_interval_seconds: 5 }] },
    api: { tokens: ['admin'] }
  };
  const destroy = w.destroy.bind(w);
  w.destroy = async () => {
    w.relay.back();
    await destroy();
    await w.relay.close();
  };
  return w;
}

async function ready(w) {
  await w.service.start();
  await w.service.ready();
  return w.client().synced();
}

async function same(c) {
  await c.caughtUp(30000);
  await c.equals('items', 'select * from items');
  await c.equals('log', 'select * from log');
}

let lines = 0;
const write = (w, what = 'line') => w.q('insert into log values ($1, $2)', [++lines, what]);

/** What is stored is served to a client that comes now. */
async function served(w) {
  const late = await w.client({ user: `late${lines}` }).synced();
  assert.ok(late.fold.rows('items').size > 0);
  late.close();
}

const logs = (w, pattern) => eventually(() => pattern.test(w.service.freshLog), { what: () => `${pattern} in the log, which ends:\n${w.service.tail(12)}` });

/** The error that the admin API tells, once it tells one. */
const told = (w, pattern) =>
  eventually(
    async () => {
      const r = await w.request('POST', '/api/admin/v1/diagnostics', { token: 'admin', body: {} });
      return r.status === 200 && pattern.test(JSON.stringify(r.json));
    },
    { what: () => `${pattern} in the diagnostics; the log ends:\n${w.service.tail(8)}` }
  );

describe('the connection is cut in the stream', () => {
  let w, c;
  before(async () => {
    w = await relayed({ name: 'stream_cut', schema: SCHEMA(5000) });
    c = await ready(w);
  });
  after(() => w?.destroy());
  const stream = (pred) => (pair, fromSource, d) => pair.kind === 'replication' && pred(fromSource, d);

  test('at a transaction', async () => {
    const cut = w.relay.cutWhen(stream((from, d) => from && d.includes('remember me')));
    await write(w, 'remember me');
    await same(c);
    assert.ok(cut());
  });

  test('in the middle of a large transaction, three times: it shows as a whole, and once', async () => {
    const seen = new Set();
    const complete = c.fold.complete.bind(c.fold);
    c.fold.complete = (l) => (complete(l), seen.add([...c.fold.rows('items').values()].filter((r) => r.body === 'large').length));
    const op = c.fold.lastOp;
    let cuts = 0, bytes = 0;
    const spy = stream((from, d) => {
      bytes += from ? d.length : 0;
      if (bytes < 100000) return false;
      bytes = 0;
      if (++cuts < 3) setImmediate(() => (w.relay.spy = spy));
      return true;
    });
    w.relay.cutWhen(spy);
    await w.q(`update items set n = n + 1, body = 'large'`);
    await eventually(() => cuts >= 3, { what: () => `three cuts, ${cuts} so far` });
    await same(c);
    delete c.fold.complete;
    assert.deepEqual([...seen].filter((n) => n !== 0 && n !== 5000), []);
    assert.ok(c.fold.lastOp - op < 4n * 5000n, `${c.fold.lastOp - op} operations`);
  });

  test('at a keepalive, and when the position is reported', async () => {
    for (const pred of [(from, d) => from && d.length >= 23 && d[0] === 0x64 && d[5] === 0x6b, (from, d) => !from && d[0] === 0x64 && d[5] === 0x72]) {
      const cut = w.relay.cutWhen(stream(pred));
      await eventually(async () => (await write(w), cut()), { what: 'the cut' });
      await same(c);
    }
  });

  test('the server fails at one transaction again and again, as with a full disk: that is told with the place, then it goes on', async () => {
    const text = 'could not write to data file for XID 1: No space left on device';
    const fields = Buffer.from(`SERROR\0VERROR\0C53100\0M${text}\0\0`);
    const answer = Buffer.concat([Buffer.from('E'), Buffer.alloc(4), fields]);
    answer.writeInt32BE(4 + fields.length, 1);
    let times = 0;
    const spy = (pair, from, d) => {
      if (pair.kind !== 'replication' || !from || !d.includes('poison')) return false;
      pair.client.write(answer);
      if (++times < 4) setImmediate(() => (w.relay.spy = spy));
      return true;
    };
    w.relay.cutWhen(spy);
    await write(w, 'poison');
    // Where the answer falls into the middle of a message that is sent in pieces, it cannot be read: an error at the same place as well.
    await logs(w, /Replication error .*No space left on device/);
    await logs(w, /Replication error .*\(failed 3 times in a row at [0-9A-F]{8}\/[0-9A-F]{8}\)/);
    await served(w);
    await same(c);
    assert.equal(times, 4);
  });

  test('again and again while rows are written', async () => {
    const cutter = setInterval(() => [...w.relay.pairs].forEach((p, i) => i % 2 === lines % 2 && w.relay.drop(p)), 60);
    for (let i = 0; i < 40; i++) {
      await w.q(`update items set n = n + 1 where right(id, 2) = lpad('${i}', 2, '0')`);
      await write(w);
    }
    clearInterval(cutter);
    await same(c);
  });

  test('the source is away for a while: streams stay open, requests are taken, errors are told; then it goes on at once', async () => {
    const held = c.stream;
    w.relay.away();
    for (let i = 0; i < 5; i++) await write(w);
    await w.q('delete from items where n % 3 = 0');
    await logs(w, /Replication error .*failed \d+ times in a row/);
    await told(w, /failed \d+ times in a row/);
    await served(w);
    const asked = w.request('POST', '/sync/checkpoint-request', { body: { client_id: c.id, checkpoint_request_id: String(++c.requests) } });
    assert.equal((await asked).status, 200);
    w.relay.back();
    await same(c);
    assert.equal(c.stream, held, 'the stream stayed open');
  });

  test('the server ends each of the connections', async () => {
    const kinds = `select pid, backend_type from pg_stat_activity where datname = current_database() and application_name like 'syncline%'`;
    for (const filter of [`backend_type = 'walsender'`, `backend_type = 'client backend'`, 'true']) {
      await eventually(async () => (await w.q(`${kinds} and ${filter}`)).length > 0, { what: `a connection with ${filter}` });
      await w.q(`select pg_terminate_backend(pid) from (${kinds}) s where ${filter}`);
      await write(w);
      await same(c);
    }
  });

  test('the slot is dropped while the service runs', async () => {
    await eventually(
      async () => {
        await w.q('select pg_terminate_backend(active_pid) from pg_replication_slots where database = current_database() and active');
        await w.q('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database() and not active');
        return /missing or lost|does not exist/.test(w.service.freshLog);
      },
      { every: 2, what: 'the slot is dropped before the service is back at it' }
    );
    await w.q(`delete from items where right(id, 1) in ('0', '2', '4', '6', '8')`); /* some stay */
    await write(w);
    await served(w);
    await same(c);
    assert.equal((await w.slots()).length, 1);
  });
});

describe('the server', () => {
  let server, w, c;
  before(async () => {
    server = await Postgres.start();
    w = await relayed({
      name: 'server',
      postgres: server,
      role: 'syncer',
      schema: `${SCHEMA(2000)}; create role syncer login replication; grant select on all tables in schema public to syncer`
    });
    c = await ready(w);
  });
  after(async () => {
    await w?.destroy();
    await server?.stop();
  });
  const back = () => eventually(() => w.q('select 1'), { what: 'the server answers' });
  const setting = async (name, value) => {
    await eventually(() => w.admin.query('select 1').catch(async () => ((w.admin = await reconnect()), false)), { what: 'an administrator' });
    await w.admin.query(value === undefined ? `alter system reset ${name}` : `alter system set ${name} = ${value}`);
    await w.admin.query('select pg_reload_conf()');
  };
  const reconnect = async () => {
    const { default: pg } = await import('pg');
    const a = new pg.Client({ connectionString: `${server.uri}/postgres` });
    a.on('error', () => {});
    await a.connect();
    return a;
  };
  /** Drops the slot while the service is kept away. */
  const dropSlot = () =>
    eventually(() => w.q('select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database()').then((r) => r.length > 0), { what: 'the slot is dropped' });

  for (const mode of ['fast', 'immediate'])
    test(`restarts (${mode}) while rows are written`, async () => {
      let stop = false;
      const writer = (async () => {
        for (let i = 0; !stop; i++) await w.q(`update items set n = n + 1 where n % 7 = ${i % 7}`).catch(() => sleep(20));
      })();
      await sleep(100);
      await server.restart(mode);
      await back();
      stop = true;
      await writer;
      await write(w);
      await same(c);
    });

  test('the slot is invalidated because it kept too much WAL', async () => {
    await setting('max_slot_wal_keep_size', `'16MB'`);
    w.relay.away();
    await w.q(`delete from items where n % 5 = 0`);
    for (let i = 0; i < 4; i++) await w.q(`select pg_logical_emit_message(false, 'other', 'x')`).then(() => w.q('select pg_switch_wal()'));
    await eventually(async () => (await w.q('checkpoint'), (await w.q('select wal_status from pg_replication_slots'))[0].wal_status === 'lost'), { what: 'the slot is lost' });
    await served(w);
    const op = c.fold.lastOp;
    w.relay.back();
    await write(w);
    await same(c);
    await logs(w, /PSYNC_S1146.*was invalidated/);
    await logs(w, /is missing or lost: comparing all tables/);
    const [{ n }] = await w.q('select count(*)::int as n from items');
    assert.ok(c.fold.lastOp - op < BigInt(n), `${c.fold.lastOp - op} operations for what changed of ${n} rows`);
    assert.equal((await w.slots()).length, 1);
    await setting('max_slot_wal_keep_size');
  });

  test('the role may not replicate any more', async () => {
    await w.q('alter role syncer noreplication');
    await w.q(`select pg_terminate_backend(active_pid) from pg_replication_slots where active`);
    await write(w);
    await told(w, /permission denied|must be superuser or replication role/);
    await served(w);
    await w.q('alter role syncer replication');
    await same(c);
  });

  test('the role may not log in any more', async () => {
    await w.q('alter role syncer nologin');
    await w.q(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'syncer'`);
    await write(w);
    await told(w, /not permitted to log in/);
    await served(w);
    await w.q('alter role syncer login');
    await same(c);
  });

  test('SELECT is revoked from a table that must be read again', async () => {
    await w.q('revoke select on items from syncer');
    await w.q(`alter table items add column extra int default 1`);
    await logs(w, /Reading "public"."items" failed and is tried again: .*permission denied for table items/);
    await served(w);
    await write(w);
    await w.q('grant select on items to syncer');
    await eventually(async () => (await same(c), true), { every: 100, timeout: 20000, what: 'equal to SQL' });
  });

  const COPIES = (table) => `${SYNC}  copies:\n    data:\n      - SELECT * FROM ${table} copies\n`;
  const activated = (from) => eventually(() => /Activated the sync config/.test(w.service.log.slice(from)), { timeout: 30000, what: () => `activation; the log ends:\n${w.service.tail()}` });

  test('a deploy needs a table that cannot be read: that is told, the active sync config is served, and it is done when it can', async () => {
    const from = w.service.log.length;
    await w.q('revoke select on log from syncer');
    await deploy(w, COPIES('log'), { until: /Reading "public"."log" failed/ });
    const { deploying_sync_rules: deploying } = (await w.request('POST', '/api/admin/v1/diagnostics', { token: 'admin', body: {} })).json.data;
    assert.match(JSON.stringify(deploying.connections[0].tables.find((t) => t.name === 'log').errors), /permission denied for table log/);
    await write(w);
    await same(c);
    await served(w);
    assert.doesNotMatch(w.service.log.slice(from), /Activated/);
    await w.q('grant select on log to syncer');
    await activated(from);
    await same(c);
    await c.equals('copies', 'select * from log');
  });

  test('the slot is lost while a deploy is filled', async () => {
    const from = w.service.log.length;
    const t = await w.pool.connect();
    try {
      await t.query('begin');
      await t.query('lock table items in access exclusive mode');
      await deploy(w, COPIES('items'), { until: /To replicate: "public"."items"/ });
      w.relay.away();
      await dropSlot();
    } finally {
      await t.query('rollback');
      t.release();
    }
    await w.q('delete from items where n % 9 = 0; update items set n = n + 1 where n % 7 = 0');
    w.relay.back();
    await activated(from);
    await same(c);
    await c.equals('copies', 'select * from items');
    assert.match(w.service.log.slice(from), /missing or lost: comparing all tables/);
    await deploy(w, SYNC);
    await same(c);
  });

  test('limits that are set on the role do not hit replication: timeouts, read-only, other formats', async () => {
    await w.q(`alter role syncer set statement_timeout = '1ms'; alter role syncer set lock_timeout = '1ms'; alter role syncer set idle_in_transaction_session_timeout = '1ms';
      alter role syncer set idle_session_timeout = '50ms'; alter role syncer set default_transaction_read_only = on; alter role syncer set datestyle = 'German'; alter role syncer set timezone = 'Asia/Tokyo';
      alter role syncer set default_transaction_isolation = 'serializable'; alter role syncer set default_transaction_deferrable = on; alter role syncer set search_path = 'nowhere'; alter role syncer set standard_conforming_strings = off`);
    await w.q(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'syncer'`);
    await w.q(`alter table items add column more int default 2`);
    await write(w);
    await eventually(async () => (await same(c), true), { every: 100, timeout: 20000, what: 'equal to SQL' });
    await w.q(`alter role syncer reset all`);
  });

  test('a table is locked: its reading waits and is tried again, the rest goes on', async () => {
    const t = await w.pool.connect();
    await t.query('begin');
    await t.query('lock table items in access exclusive mode');
    await t.query('alter table items add column locked int default 3');
    // That is seen by a look at the catalogue, and read by an attempt that describes all tables.
    for (let i = 1; i <= 3; i++) {
      const from = w.service.log.length;
      await w.q(`alter table log add column beside${i} int default ${i}`);
      await eventually(() => /Replicated "public"."log"/.test(w.service.log.slice(from)), { what: () => `it is read again:\n${w.service.tail()}` });
      await write(w);
      await c.caughtUp();
      await c.equals('log', 'select * from log');
    }
    await t.query('select 1'); // it is held all the time
    await t.query('commit');
    t.release();
    await eventually(async () => (await same(c), true), { every: 100, timeout: 20000, what: 'equal to SQL' });
  });

  test('wal_level is no longer logical', async () => {
    w.relay.away();
    await dropSlot();
    await setting('wal_level', 'replica');
    await server.restart();
    await back();
    w.relay.back();
    await told(w, /wal_level must be set to 'logical'/);
    await served(w);
    await w.q(`delete from items where n % 4 = 0`);
    await setting('wal_level');
    await server.restart();
    await back();
    await write(w);
    await same(c);
  });

  test('the database takes no writes', async () => {
    await setting('default_transaction_read_only', 'on');
    await server.restart();
    await back();
    await c.caughtUp();
    await served(w);
    await w.q('set session characteristics as transaction read write').catch(() => {});
    await setting('default_transaction_read_only');
    await server.restart();
    await back();
    await write(w);
    await same(c);
  });

  test('no free connection, then one', async () => {
    await setting('superuser_reserved_connections', 3);
    await w.q('alter role syncer connection limit 0');
    await w.q(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'syncer'`);
    await write(w);
    await told(w, /too many connections/);
    await served(w);
    await w.q('alter role syncer connection limit -1');
    await same(c);
  });

  test('the password is wrong: it is not tried again and again', async () => {
    await w.q(`create role stranger login replication password 'right'`);
    const hba = `${server.folder}/data/pg_hba.conf`;
    fs.writeFileSync(hba, `host all stranger 127.0.0.1/32 scram-sha-256\n${fs.readFileSync(hba)}`);
    await w.q('select pg_reload_conf()');
    const other = await relayed({ name: 'stranger', postgres: server, role: 'stranger' });
    try {
      const wrong = 'Wr0ng-word-of-a-stranger';
      const [connection] = other.service.config.replication.connections;
      const uri = new URL(connection.uri);
      uri.password = wrong;
      connection.uri = uri.href;
      let connections = 0;
      other.relay.server.on('connection', () => connections++);
      await other.service.start();
      await other.service.listening();
      await eventually(() => /Replication error password authentication failed for user "stranger"/.test(other.service.freshLog), { what: () => `the error:\n${other.service.tail()}` });
      await sleep(2000); // in which others try several times
      assert.ok(connections <= 3, `${connections} connections`);
      assert.match(fs.readFileSync(other.service.configPath, 'utf8'), new RegExp(wrong));
      assert.ok(!other.service.log.includes(wrong), 'the password is not in the log');
    } finally {
      await other.destroy();
    }
  });

  test('an earlier state of the server is put back: what was lost goes, what came instead comes', async () => {
    await same(c);
    w.relay.away();
    await server.stopOnly();
    execFileSync('cp', ['-a', `${server.folder}/data`, `${server.folder}/backup`]);
    await server.startOnly();
    await back();
    w.relay.back();
    await w.q(`insert into items(id, n, body) values ('lost', 1, 'in the backup it is not')`);
    await w.q(`update items set body = 'lost' where n % 2 = 1`);
    await w.q(`delete from items where n % 9 = 2`);
    await same(c);
    w.relay.away();
    await server.stopOnly();
    execFileSync('rm', ['-rf', `${server.folder}/data`]);
    execFileSync('mv', [`${server.folder}/backup`, `${server.folder}/data`]);
    await server.startOnly();
    await back();
    w.relay.back();
    await w.q('insert into log values ($1, $2)', [1000000, 'another history']);
    await same(c);
    assert.ok(!c.fold.rows('items').has('lost'));
  });

  test('a standby that lacks the last changes is promoted with the slot, and written beyond where the old one was', async () => {
    w.relay.away();
    await server.stopOnly();
    execFileSync('cp', ['-a', `${server.folder}/data`, `${server.folder}/standby`]);
    await server.startOnly();
    await back();
    w.relay.back();
    await w.q(`insert into items(id, n, body) values ('lost again', 1, 'the standby lacks it'); delete from items where n % 11 = 3`);
    await same(c);
    w.relay.away();
    await server.stopOnly();
    execFileSync('rm', ['-rf', `${server.folder}/data`]);
    execFileSync('mv', [`${server.folder}/standby`, `${server.folder}/data`]);
    fs.writeFileSync(`${server.folder}/data/recovery.signal`, '');
    fs.appendFileSync(`${server.folder}/data/postgresql.conf`, `restore_command = 'false'\n`);
    await server.startOnly();
    await eventually(async () => (await w.q('select pg_is_in_recovery() as r'))[0].r === false, { what: 'it is promoted' });
    const [slot] = await w.slots();
    for (let i = 0; i < 2; i++) await w.q(`insert into log values (${2000000 + i}, 'on the new timeline')`).then(() => w.q('select pg_switch_wal()'));
    w.relay.back();
    await write(w);
    await same(c);
    assert.ok(slot, 'the slot was there');
    assert.ok(!c.fold.rows('items').has('lost again'));
    await logs(w, /The source has gone from timeline 1 to 2, where changes that were replicated may be missing/);
  });

  test('a promotion that loses nothing is gone over, on the same slot', async () => {
    await same(c);
    const [slot] = await w.slots();
    w.relay.away();
    await server.stopOnly();
    fs.writeFileSync(`${server.folder}/data/recovery.signal`, '');
    await server.startOnly();
    await eventually(async () => (await w.q('select pg_is_in_recovery() as r'))[0].r === false, { what: 'it is promoted' });
    const op = c.fold.lastOp;
    w.relay.back();
    await write(w);
    await same(c);
    await logs(w, /The source has gone from timeline 2 to 3(?!, where)/);
    assert.equal((await w.slots())[0].slot_name, slot.slot_name);
    assert.ok(c.fold.lastOp - op < 5n, `${c.fold.lastOp - op} operations`);
  });
});

describe('worlds of their own, beside each other', { concurrency: 3 }, () => {
  test('an idle database lets go of WAL that other databases write', async () => {
    const w = await relayed({ name: 'idle' });
    try {
      const c = await ready(w);
      await same(c);
      await w.admin.query('create table if not exists noise(x text); truncate noise');
      await w.admin.query('insert into noise select md5(i::text) from generate_series(1, 20000) i');
      const { rows } = await w.admin.query('select pg_current_wal_insert_lsn() as lsn');
      await eventually(async () => (await w.q('select 1 from pg_replication_slots where database = current_database() and confirmed_flush_lsn >= $1', [rows[0].lsn])).length === 1, {
        timeout: 30000,
        what: 'the confirmed position passes what another database wrote'
      });
    } finally {
      await w.destroy();
    }
  });

  const isQuery = (text) => (pair, fromSource, d) => !fromSource && d.includes(text);
  /** At the nth piece of an answer to a statement that holds `text`. */
  const answering = (text, pieces = 1) => {
    let asked, n = 0;
    return (pair, fromSource, d) => {
      if (!fromSource && d.includes(text)) asked = pair;
      return fromSource && pair === asked && ++n >= pieces;
    };
  };
  const first = {
    'while connecting': (pair, fromSource) => fromSource,
    'while the catalogue is read': answering('relrowsecurity'),
    'before the slot is made': isQuery('CREATE_REPLICATION_SLOT'),
    'when the slot is made, but nobody has heard of it': answering('CREATE_REPLICATION_SLOT'),
    'while the snapshot of the slot is read': isQuery('SET TRANSACTION SNAPSHOT'),
    'before the stream starts': isQuery('START_REPLICATION'),
    'when the stream starts': answering('START_REPLICATION'),
    'before a chunk': isQuery('FROM ONLY'),
    'in the middle of a chunk': answering('FROM ONLY', 5),
    'behind the first chunks': (() => {
      let chunks = 0;
      return (pair, fromSource, d) => !fromSource && d.includes('FROM ONLY') && ++chunks > 2;
    })()
  };
  for (const [phase, spy] of Object.entries(first))
    test(`first start: ${phase}`, async () => {
      const w = await relayed({ name: 'cut', schema: SCHEMA(25000) });
      try {
        const cut = w.relay.cutWhen(spy);
        await w.service.start();
        await w.service.ready();
        await write(w);
        const c = await w.client().synced();
        await same(c);
        assert.ok(cut(), 'the connection was cut');
        assert.equal((await w.slots()).length, 1, 'no slot is left behind');
      } finally {
        await w.destroy();
      }
    });

  test('a start waits for a transaction that is open on the source, says so in log and diagnostics, and lives', async () => {
    const w = await relayed({ name: 'waits' });
    const t = await w.pool.connect();
    try {
      await t.query('begin');
      await t.query(`insert into log values (-1, 'long')`);
      await w.service.start();
      await w.service.listening();
      await logs(w, /Creating replication slot \S+ waits for transactions to end that are open on the source/);
      await told(w, /waits for transactions to end that are open/);
      await t.query('commit');
      await w.service.ready();
      const c = await w.client().synced();
      await same(c);
      await eventually(async () => !/waits for transactions/.test(JSON.stringify((await w.request('POST', '/api/admin/v1/diagnostics', { token: 'admin', body: {} })).json)), { what: 'it is not told any more' });
    } finally {
      t.release(true);
      await w.destroy();
    }
  });

  test('a start without a source: what is stored is served, and the source is taken when it comes', async () => {
    const w = await relayed({ name: 'no_source' });
    try {
      const c = await ready(w);
      await same(c);
      await w.service.stop();
      w.relay.away();
      await w.service.start();
      await w.service.listening();
      await served(w);
      await write(w);
      w.relay.back();
      await same(c);
    } finally {
      await w.destroy();
    }
  });
});

