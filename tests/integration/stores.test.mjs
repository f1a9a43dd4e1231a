// Stores that older versions of the program wrote, and one that a newer version wrote.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { SCHEMA, SYNC, TABLES, USER, read, thaw, unpack } from '../lib/stored.mjs';
import { eventually, freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const sorted = (rows) => [...rows].sort((a, b) => (a.id < b.id ? -1 : 1));
const QUERIES = {
  items: 'select id, owner, n, body from items',
  notes: `select * from notes where team in (select team from members where "user" = '${USER}')`
};

function holdsStored(name, client) {
  const want = read(name, 'rows.json');
  for (const t of TABLES) assert.deepEqual(sorted(client.fold.rows(t).values()), sorted(want[t]), `${t} of ${client.id}`);
}

/** A world with the store in place, whose source cannot be reached. */
async function onStore(name) {
  const w = await World.create({ name: 'stores', schema: SCHEMA, sync: SYNC });
  w.sourceIsAway = { replication: { connections: [{ type: 'postgresql', uri: `postgresql://u:p@127.0.0.1:${await freePort()}/x`, sslmode: 'disable' }] } };
  w.service.config = w.sourceIsAway;
  unpack(name, path.join(w.service.dir, 'data'));
  return w;
}

for (const format of [1, 2]) {
  const name = `service-format-${format}`;
  describe(`a store of format ${format}`, { timeout: 60000 }, () => {
    test('is served, compacted and goes on replicating; clients of before resume on it', async () => {
      const w = await onStore(name);
      try {
        await w.service.start();
        await w.service.ready();
        assert.equal(/The store was migrated/.test(w.service.log), format < 2);
        const resumed = w.client({ user: USER });
        thaw(resumed.fold, read(name, 'client.json'));
        holdsStored(name, await resumed.synced());
        holdsStored(name, await w.client({ user: USER }).synced());
        const done = await syncline(['compact', '--json', '--margin', '0'], { config: w.service.configPath });
        assert.equal(done.code, 0, done.out + done.err);
        assert.ok(done.json.moved > 0 && done.json.cleared > 0, done.out);
        const again = w.client({ user: USER });
        thaw(again.fold, read(name, 'client.json'));
        holdsStored(name, await again.synced());
        holdsStored(name, await w.client({ user: USER }).synced());
        for (const c of [resumed, again]) c.close();
        await w.service.stop();

        // Now with a source, which is another database than the store knew: compared with it, row by row.
        await w.q(`insert into items select 'i' || i, 'user' || (i % 3), i, md5(i::text) from generate_series(30, 90) i`);
        await w.q(`insert into notes select 'n' || i, 't' || (i % 3), 7 from generate_series(1, 20) i`);
        await w.q(`insert into members values ('m1', 'user1', 't1'), ('m9', 'user1', 't0')`);
        w.service.config = {};
        await w.service.writeConfig();
        await w.service.start();
        await w.service.ready();
        await eventually(
          async () => {
            for (const c of [resumed, again, w.client({ user: USER })]) {
              await c.caughtUp();
              for (const t of TABLES) await c.equals(t, QUERIES[t]);
            }
            return true;
          },
          { timeout: 30000, what: () => `clients hold what the source has:\n${w.service.tail()}` }
        );
      } finally {
        await w.destroy();
      }
    });
  });
}

test('migrate up migrates an old store without serving it, and says so', async () => {
  const dir = temporaryFolder('migrate');
  const s = new Service({ dir, sourceUri: 'postgresql://u:p@127.0.0.1:1999/x', sync: SYNC });
  await s.writeConfig();
  unpack('service-format-1', path.join(dir, 'data'));
  const r = await syncline(['migrate', 'up'], { config: s.configPath });
  assert.equal(r.code, 0, r.err);
  assert.match(r.out, /The store was migrated/);
  const again = await syncline(['migrate', 'up'], { config: s.configPath });
  assert.equal(again.code, 0, again.err);
  assert.doesNotMatch(again.out, /migrated/);
});

test('a store of a newer format is refused by every command, and not changed', async () => {
  const dir = temporaryFolder('newer');
  const s = new Service({ dir, sourceUri: 'postgresql://u:p@127.0.0.1:1999/x', sync: SYNC });
  await s.writeConfig();
  const data = path.join(dir, 'data', 'data.mdb');
  unpack('service-format-2', path.dirname(data));
  // The state record, under key 0, begins with the format, both big-endian u32; the name of the slot stands in it.
  const bytes = fs.readFileSync(data);
  let found = 0;
  for (let name = bytes.indexOf('powersync_'); name >= 0; name = bytes.indexOf('powersync_', name + 1)) {
    const head = bytes.subarray(name - 64, name).lastIndexOf(Buffer.from('0000000000000002', 'hex'));
    if (head < 0) continue;
    bytes[name - 64 + head + 7] = 99;
    found++;
  }
  assert.ok(found > 0, 'the state record is found');
  fs.writeFileSync(data, bytes);
  for (const command of [['start'], ['migrate', 'up'], ['compact']]) {
    const r = await syncline(command, { config: s.configPath });
    assert.equal(r.code, command[0] === 'start' ? 150 : 1, r.out + r.err);
    assert.match(r.out + r.err, /PSYNC_S1005.*written by a newer version of this program \(format 99/);
  }
  assert.deepEqual(fs.readFileSync(data), bytes);
});

test('a process with little address space uses a smaller map, and says so', async (t) => {
  const dir = temporaryFolder('map');
  const s = new Service({ dir, sourceUri: 'postgresql://u:p@127.0.0.1:1999/x', sync: SYNC });
  await s.writeConfig();
  const binary = process.env.SYNCLINE;
  if (!binary || /__asan_init|__tsan_init/.test(fs.readFileSync(binary, 'latin1'))) return t.skip('sanitizers need the address space');
  const out = execFileSync('bash', ['-c', 'ulimit -v 6000000; exec "$0" migrate up -c "$1"', binary, s.configPath], { encoding: 'utf8' });
  assert.match(out, /data\.mdb can grow to \d+ MiB only/);
  assert.match(out, /is at this version's format/);
  const whole = await syncline(['migrate', 'up'], { config: s.configPath });
  assert.doesNotMatch(whole.out, /can grow/);
});
