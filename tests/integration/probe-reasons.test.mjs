// Probes tell why the service cannot do all of its work; readiness follows only if it is told to.
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { eventually } from '../lib/util.mjs';
import { Postgres, World } from '../lib/world.mjs';

const SCHEMA = 'create table items(id text primary key)';
const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM items\n';
const probe = (w, name) => w.request('GET', `/probes/${name}`);

for (const strict of [false, true])
  describe(`probes, strict_readiness ${strict}`, () => {
    let w;
    let postgres;
    after(async () => {
      await w?.service.stop();
      await postgres?.stop();
    });

    test('the reasons come and go with the source', { timeout: 60000 }, async () => {
      postgres = await Postgres.start();
      w = await World.started({ name: 'probes', schema: SCHEMA, sync: SYNC, postgres, config: { healthcheck: { probes: { use_http: true, strict_readiness: strict } } } });
      const r = await eventually(async () => {
        const x = await probe(w, 'readiness');
        return x.status === 200 && !x.json.reasons && x;
      }, { what: 'nothing is wrong' });
      assert.deepEqual(Object.keys(r.json), ['ready', 'started', 'touched_at']);
      await w.pool.end();
      await w.admin.end();
      await postgres.stop();
      const away = await eventually(async () => {
        const x = await probe(w, 'readiness');
        return x.json.reasons?.includes('source_away') && x;
      }, { what: 'the source is missed' });
      assert.equal(away.status, strict ? 400 : 200);
      assert.equal(away.json.ready, !strict);
      assert.deepEqual((await probe(w, 'liveness')).status, 200, 'it is alive all the same');
    });
  });

describe('probes without a usable sync config', () => {
  let w;
  after(() => w?.destroy());

  test('say so', { timeout: 60000 }, async () => {
    w = await World.create({ name: 'probes-config', schema: SCHEMA, sync: 'bucket_definitions: [', config: { sync_config: { path: 'sync-config.yaml', exit_on_error: false } } });
    await w.service.start();
    await w.service.listening();
    const r = await eventually(async () => {
      const x = await probe(w, 'readiness');
      return x.json?.reasons && x;
    }, { what: 'reasons' });
    assert.ok(r.json.reasons.includes('config_invalid'), r.text);
    assert.ok(r.json.reasons.includes('no_active_config'), r.text);
    assert.equal(r.status, 200);
  });
});
