// The command lines and exit codes of vectors/config/cli-exit-codes.json.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const cases = JSON.parse(fs.readFileSync(fileURLToPath(new URL('../data/vectors/config/cli-exit-codes.json', import.meta.url))));
const SYNC = 'bucket_definitions:\n  global:\n    data:\n      - SELECT * FROM lists\n';

describe('exit codes', async () => {
  let w, files, blocker, commands;
  before(async () => {
    w = await World.create({ name: 'exits', schema: 'create table lists(id text primary key)', sync: SYNC });
    const port = await freePort();
    blocker = net.createServer();
    const taken = await new Promise((resolve) => blocker.listen(0, '0.0.0.0', () => resolve(blocker.address().port)));
    const variant = async (name, change, sync = SYNC) => {
      const s = new Service({ dir: temporaryFolder(name), sourceUri: w.sourceUri, sync, config: change });
      s.port = change.port;
      await s.writeConfig();
      return s;
    };
    files = {
      GOOD: await variant('good', {}),
      BAD: await variant('bad', { storage: 'abc' }),
      STORAGE_DOWN: await variant('storage-down', { storage: { type: 'lmdb', path: '/proc/nothing/here' } }),
      PORT_IN_USE: await variant('port-in-use', { port: taken }),
      SYNC_MISSING: await variant('sync-missing', { sync_config: { path: 'not-there.yaml' } }),
      SYNC_INVALID: await variant('sync-invalid', {}, 'streams: 1\n'),
      SYNC_INVALID_NO_EXIT: await variant('sync-invalid-no-exit', { sync_config: { path: 'sync-config.yaml', exit_on_error: false } }, 'streams: 1\n'),
      SOURCE_DOWN: await variant('source-down', { replication: { connections: [{ type: 'postgresql', uri: `postgresql://u:p@127.0.0.1:${port}/x`, sslmode: 'disable' }] } })
    };
    commands = new Set([...(await syncline(['--help'])).out.matchAll(/^ {2}([a-z-]+) +\S/gm)].map((m) => m[1]));
  });
  after(async () => {
    blocker?.close();
    await w?.destroy();
  });

  for (const c of cases) {
    test(c.id, async (t) => {
      const command = c.args.find((a) => !a.startsWith('-'));
      if (command && command !== 'foo' && !commands.has(command)) return t.skip(`there is no ${command} yet`);
      const args = c.args.map((a) => a.replace(/^\$\{(\w+)\}$/, (_, name) => files[name].configPath));
      if (c.exit === null) {
        const s = Object.values(files).find((f) => f.configPath === args.at(-1));
        await s.start();
        await s.listening();
        await new Promise((r) => setTimeout(r, 1500)); // longer than the second that a fatal sync config takes
        assert.ok(!s.child.gone, `it ended:\n${s.tail()}`);
        await s.stop();
        return;
      }
      if (c.while) {
        await files.GOOD.start();
        await files.GOOD.ready();
      }
      try {
        const r = await syncline(args, { timeout: 20000 });
        assert.equal(r.code, c.exit, r.out + r.err);
        if (c.code) assert.ok((r.out + r.err).includes(c.code), r.out + r.err);
      } finally {
        await files.GOOD.stop();
      }
    });
  }
});
