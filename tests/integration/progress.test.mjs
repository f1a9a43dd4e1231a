// The bar of long commands: there when standard error is a terminal, not with --json, not in a pipe, and it leaves nothing behind.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { cleanEnvironment, syncline } from '../lib/cli.mjs';
import { BINARY } from '../lib/service.mjs';
import { SCHEMA, SYNC, unpack } from '../lib/stored.mjs';
import { sign } from '../lib/token.mjs';
import { World } from '../lib/world.mjs';

/** What the command writes to a terminal. */
const watched = (w, args, env = {}) =>
  execFileSync('script', ['-qec', [BINARY, ...args, '-c', w.service.configPath].map((a) => `'${a}'`).join(' '), '/dev/null'], {
    cwd: w.service.dir,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    env: cleanEnvironment({ TERM: 'xterm', ...env })
  });

/** What stands on the screen at the end: \r goes back to the left, ESC[K takes the rest of the line away. */
const screen = (text) =>
  text.split('\n').map((line) => {
    let shown = '';
    let at = 0;
    for (const part of line.split(/(\r|\u001b\[K)/)) {
      if (part === '\r') at = 0;
      else if (part === '\u001b[K') shown = shown.slice(0, at);
      else [shown, at] = [shown.slice(0, at) + part + shown.slice(at + part.length), at + part.length];
    }
    return shown;
  });

describe('progress of commands', { timeout: 60000 }, () => {
  let w;
  before(async () => {
    w = await World.started({ name: 'progress', schema: SCHEMA, sync: SYNC });
    await w.q(`insert into items select 'i' || i, 'user' || (i % 3), 0, repeat('x', 100) from generate_series(1, 300) i`);
    const c = await w.client({ user: 'user1' }).synced();
    await c.caughtUp();
    c.close();
  });
  after(() => w?.destroy());

  const bar = (text, what) => {
    assert.match(text, new RegExp(`\\r${what}  \\[[#-]{20}\\] +\\d+ %`));
    assert.ok(!screen(text).some((line) => line.includes('##') || line.includes('--]')), `nothing stays of it: ${screen(text).join('\n')}`);
  };

  test('pull, check, compact beside the service', async () => {
    const token = await sign({ sub: 'user1' });
    const rows = watched(w, ['pull', '--token', token]);
    bar(rows, 'Downloading');
    assert.equal(screen(rows).filter((line) => /^\{"op":"PUT".*\}$/.test(line)).length, 300, screen(rows).slice(0, 3).join('\n'));
    bar(watched(w, ['check']), 'Checking');
    bar(watched(w, ['compact']), 'Compacting');
  });

  test('none with --json, in a pipe, or on a terminal that cannot show it', async () => {
    for (const command of ['check', 'compact']) {
      assert.equal(JSON.parse(watched(w, [command, '--json'])).ok, true, command);
      const piped = await syncline([command], { config: w.service.configPath });
      assert.deepEqual([piped.code, piped.err], [0, ''], command);
      assert.doesNotMatch(watched(w, [command], { TERM: 'dumb' }), /\[[#-]/, command);
    }
  });

  test('migrate and teardown, without a service', async () => {
    await w.service.stop();
    bar(watched(w, ['teardown', 'TEARDOWN']), 'Tearing down');
    unpack('service-format-1', path.join(w.service.dir, 'data'));
    const text = watched(w, ['migrate', 'up']);
    bar(text, 'Migrating');
    assert.match(screen(text).join('\n'), /^.*The store was migrated\S*$/m);
  });
});
