// The files of packaging/compose work together: the database is made by its script, and a client gets its rows. Only the containers are left out.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { Service, temporaryFolder } from '../lib/service.mjs';
import { eventually, freePort } from '../lib/util.mjs';
import { Postgres } from '../lib/world.mjs';

const folder = fileURLToPath(new URL('../../packaging/compose', import.meta.url));

test('the compose files make a working installation', async () => {
  const postgres = await Postgres.start();
  const { port } = new URL(postgres.uri);
  const dir = temporaryFolder('compose');
  const env = { PS_DATABASE_PASSWORD: "it's a secret", PS_ADMIN_TOKEN: 'admin', PS_JWT_SECRET: Buffer.from('k'.repeat(32)).toString('base64url') };
  const pg = { PGHOST: '127.0.0.1', PGPORT: port, POSTGRES_USER: 'postgres', POSTGRES_DB: 'postgres', SYNCLINE_PASSWORD: env.PS_DATABASE_PASSWORD };
  const service = new Service({ dir, env });
  try {
    execFileSync(path.join(folder, 'init.sh'), { env: { ...process.env, ...pg }, stdio: 'pipe' });
    let config = fs.readFileSync(path.join(folder, 'powersync.yaml'), 'utf8');
    service.port = await freePort();
    for (const [from, to] of [['hostname: database', 'hostname: 127.0.0.1'], ['port: 5432', `port: ${port}`], ['port: 8080', `port: ${service.port}`], ['/var/lib/syncline', dir], ['prometheus_port: 9090', `prometheus_port: ${await freePort()}`]]) {
      assert.ok(config.includes(from), from);
      config = config.replace(from, to);
    }
    service.url = `http://127.0.0.1:${service.port}`;
    service.configPath = path.join(dir, 'powersync.yaml');
    fs.writeFileSync(service.configPath, config);
    fs.copyFileSync(path.join(folder, 'sync-config.yaml'), path.join(dir, 'sync-config.yaml'));

    const check = await syncline(['check', '--json'], { config: service.configPath, env });
    assert.deepEqual(check.json.checks.filter((c) => c.status === 'error'), [], check.out);
    await service.start();
    await eventually(async () => (await fetch(`${service.url}/probes/readiness`)).status === 200, { what: 'the service is ready' });
    const pull = (...args) => syncline(['pull', ...args], { config: service.configPath, env });
    await eventually(async () => (await pull('--sub', 'alice')).lines?.length === 1, { every: 200, what: 'the list of alice' });
    const rows = (await pull('--sub', 'alice', '--stream', 'todos={"list":"l1"}')).lines;
    assert.deepEqual(rows.map((r) => r.id).sort(), ['l1', 't1', 't2']);
    assert.deepEqual((await pull('--sub', 'alice', '--stream', 'todos={"list":"l2"}')).lines.map((r) => r.id), ['l1'], 'a list of somebody else');
  } finally {
    await service.stop();
    await postgres.stop();
  }
});

test('the compose file passes every variable that the configuration wants', () => {
  const compose = fs.readFileSync(path.join(folder, 'compose.yaml'), 'utf8');
  const wanted = [...fs.readFileSync(path.join(folder, 'powersync.yaml'), 'utf8').matchAll(/!env (PS_\w+)/g)].map((m) => m[1]);
  for (const v of wanted) assert.match(compose, new RegExp(`^ +${v}: \\$\\{${v}:\\?\\}$`, 'm'));
});
