// A service that finds its store in the hands of a command waits for the end of that command, and a compaction comes to an end for it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { cleanEnvironment, syncline } from '../lib/cli.mjs';
import { BINARY } from '../lib/service.mjs';
import { SCHEMA, SYNC } from '../lib/stored.mjs';
import { eventually, sleep, within } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

/** Longer than a service waits for a store whose holder says nothing. */
const LONG_MS = 11000;

describe('the store is in use by a command when the service starts', { timeout: 120000 }, () => {
  let w, lock;
  const held = new Set();

  function run(program, args) {
    const child = spawn(program, args, { env: cleanEnvironment(), stdio: ['pipe', 'pipe', 'pipe'] });
    held.add(child);
    child.out = '';
    child.stdout.on('data', (d) => (child.out += d));
    child.stderr.on('data', (d) => (child.out += d));
    child.done = new Promise((resolve) => child.once('close', (code) => (held.delete(child), (child.gone = true), resolve(code))));
    return child;
  }

  /** A process that holds the lock as that command does, until its input ends. */
  async function hold(command) {
    const child = run('flock', [lock, 'sh', '-c', 'printf "%s\\n%s" $$ "$1" > "$0"; echo held; cat', lock, command ? `${command}\n` : '']);
    await eventually(() => child.out.includes('held'), { what: `the lock is held: ${child.out}` });
    return child;
  }

  async function letGo(child) {
    child.stdin.end();
    await within(child.done, 5000, () => 'the lock is given back');
  }

  const waiting = (command) =>
    eventually(() => new RegExp(`in use by 'syncline ${command}', pid \\d+: waiting`).test(w.service.freshLog), { what: () => `the service says that it waits:\n${w.service.tail()}` });

  const equal = async (c) => {
    await c.caughtUp();
    await c.equals('items', 'select id, owner, n from items', (r) => JSON.stringify([String(r.id), r.n]));
  };

  before(async () => {
    w = await World.started({ name: 'store-wait', schema: SCHEMA, sync: SYNC });
    lock = path.join(w.service.dir, 'data', 'lock');
    await w.q(`insert into items select 'i' || i, 'user' || (i % 3), 0, repeat('x', 50) from generate_series(1, 5000) i`);
    for (let i = 0; i < 4; i++) await w.q('update items set n = n + 1');
    await equal(w.client({ user: 'user1' }));
    await w.service.stop();
  });
  after(async () => {
    for (const child of held) child.kill('SIGKILL');
    await w?.destroy();
  });

  test('a compaction stops early, says so, and the service comes up; it does the rest', async () => {
    const compaction = run(BINARY, ['compact', '--margin', '0', '-c', w.service.configPath]);
    const until = Date.now() + 10000;
    while (!fs.readFileSync(lock, 'utf8').startsWith(`${compaction.pid}\ncompact\n`)) {
      assert.ok(Date.now() < until && !compaction.gone, `it takes the lock: ${compaction.out}`);
      await new Promise(setImmediate);
    }
    compaction.kill('SIGSTOP'); // it takes as long as the test wants
    await w.service.start();
    await waiting('compact');
    const check = await syncline(['check', '--json'], { config: w.service.configPath });
    assert.match(check.out, new RegExp(`in use by process ${compaction.pid}, 'syncline compact': a service would wait`));
    const another = await syncline(['migrate', 'up'], { config: w.service.configPath });
    assert.equal(another.code, 1);
    assert.match(another.out + another.err, new RegExp(`PSYNC_S1003.*pid ${compaction.pid} \\(syncline compact\\)`));
    await sleep(LONG_MS);
    assert.ok(!w.service.child.gone, w.service.tail());
    compaction.kill('SIGCONT');
    assert.equal(await within(compaction.done, 10000, () => `the compaction ends: ${compaction.out}`), 1, compaction.out);
    assert.match(compaction.out, /^Stopped early: a service waits for the store\..*\nInterrupted after \d+ buckets/m);
    await w.service.ready();
    assert.equal(w.service.freshLog.match(/The store is in use/g).length, 1, 'one line, not one for each look');
    const rest = await syncline(['compact', '--margin', '0', '--json'], { config: w.service.configPath });
    assert.equal(rest.code, 0, rest.out + rest.err);
    assert.ok(rest.json.moved > 0 && !rest.json.stopped, rest.out);
    await equal(w.client({ user: 'user1' }));
    await equal(w.client({ user: 'user2' }));
  });

  test('a service that is stopped is no reason to wait: another one is refused', async () => {
    w.service.child.kill('SIGSTOP');
    const another = await syncline(['start'], { config: w.service.configPath });
    w.service.child.kill('SIGCONT');
    assert.notEqual(another.code, 0);
    assert.match(another.out + another.err, new RegExp(`PSYNC_S1003.*pid ${w.service.child.pid}`));
  });

  test('other commands are waited for until they end', async () => {
    await w.service.stop();
    for (const command of ['migrate', 'teardown']) {
      const holder = await hold(command);
      await w.service.start();
      await waiting(command);
      await letGo(holder);
      await w.service.ready();
      await w.service.stop();
    }
  });

  test('a service that waits is stopped with exit code 0, and wants the store no more', async () => {
    const holder = await hold('compact');
    await w.service.start();
    await waiting('compact');
    w.service.child.kill('SIGHUP');
    w.service.child.kill('SIGTERM');
    assert.deepEqual(await w.service.exited(5000), { code: 0, signal: null }, w.service.tail());
    assert.match(w.service.freshLog, /Stopping on SIGTERM/);
    await letGo(holder);
    const whole = await syncline(['compact', '--json'], { config: w.service.configPath });
    assert.equal(whole.code, 0, whole.out + whole.err);
  });

  test('one that was killed while it waited keeps no compaction from its work', async () => {
    const holder = await hold('compact');
    await w.service.start();
    await waiting('compact');
    await w.service.kill9();
    await letGo(holder);
    const whole = await syncline(['compact', '--json'], { config: w.service.configPath });
    assert.equal(whole.code, 0, whole.out + whole.err);
  });
});
