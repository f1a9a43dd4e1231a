// Probes as files (http-api-and-operations 3).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { eventually } from '../lib/util.mjs';

async function run(healthcheck, body) {
  const s = new Service({ dir: temporaryFolder('probes'), config: { replication: undefined, sync_config: undefined, healthcheck } });
  await s.start();
  await eventually(() => /Running on port/.test(s.log), { what: () => `the start:\n${s.tail()}` });
  try {
    await body(path.join(s.dir, '.probes'), s);
  } finally {
    await s.stop();
  }
}

const isTime = (file) => /^\d{13}$/.test(fs.readFileSync(file, 'utf8'));

for (const [title, healthcheck] of [['use_filesystem', { probes: { use_filesystem: true } }], ['the old default', undefined]])
  test(`${title} writes startup, ready and poll`, () =>
    run(healthcheck, async (folder) => {
      await eventually(() => fs.existsSync(path.join(folder, 'poll')) && isTime(path.join(folder, 'poll')), { what: 'the first poll' });
      const first = fs.readFileSync(path.join(folder, 'poll'), 'utf8');
      assert.ok(isTime(path.join(folder, 'startup')) && isTime(path.join(folder, 'ready')));
      await eventually(() => Number(fs.readFileSync(path.join(folder, 'poll'), 'utf8')) > Number(first), { timeout: 8000, what: 'another poll' });
    }));

test('probes that are switched off leave nothing behind, and no routes', () =>
  run({ probes: {} }, async (folder, s) => {
    assert.ok(!fs.existsSync(folder));
    assert.equal((await fetch(`${s.url}/probes/startup`)).status, 404);
  }));
