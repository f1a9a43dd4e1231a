// The port of the metrics: its text, and that the figures follow what happens.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { eventually, freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

describe('metrics', () => {
  let w;
  let url;
  before(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    w = await World.started({
      name: 'metrics',
      schema: "create table items(id text primary key, title text); insert into items select 'i' || n, 'x' from generate_series(1, 50) n",
      sync: 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM items\n',
      config: { telemetry: { disable_telemetry_sharing: true, prometheus_port: port } }
    });
  });
  after(() => w?.destroy());

  /** Value of a series without labels; undefined: it is not printed. */
  async function metric(name) {
    const text = await (await fetch(`${url}/metrics`)).text();
    const line = text.split('\n').find((l) => l.startsWith(`${name} `));
    return line && Number(line.slice(name.length + 1));
  }

  test('the port answers one path', async () => {
    const r = await fetch(`${url}/metrics`);
    assert.equal(r.status, 200);
    assert.match(r.headers.get('content-type'), /^text\/plain; version=0\.0\.4/);
    assert.match(await r.text(), /^target_info\{service="PowerSync",service_version="[^"]+",source_type="postgresql",storage_type="lmdb",instance_id="[0-9a-f-]{36}"\} 1$/m);
    const other = await fetch(`${url}/other`);
    assert.equal(other.status, 404);
    assert.equal(await other.text(), '');
    assert.equal((await fetch(`${w.url}/metrics`)).status, 404, 'nothing on the public port');
  });

  test('replication counts rows and transactions', async () => {
    assert.equal(await metric('powersync_rows_replicated_total'), 50);
    const before = await metric('powersync_transactions_replicated_total');
    await w.q("insert into items select 'j' || n, 'y' from generate_series(1, 30) n");
    await eventually(async () => (await metric('powersync_rows_replicated_total')) === 80, { what: 'the new rows are counted' });
    assert.ok((await metric('powersync_transactions_replicated_total')) > before);
    assert.equal(await metric('syncline_source_connected'), 1);
  });

  test('streams are counted, and what they sent', async () => {
    assert.equal(await metric('powersync_concurrent_connections'), 0);
    const sent = (await metric('powersync_operations_synced_total')) ?? 0; // not there before the first stream
    const client = await w.client().synced();
    assert.equal(await metric('powersync_concurrent_connections'), 1);
    assert.equal(await metric('powersync_operations_synced_total'), sent + 80);
    assert.ok((await metric('powersync_data_synced_bytes_total')) > 80 * 20);
    client.close();
    await eventually(async () => (await metric('powersync_concurrent_connections')) === 0, { what: 'the stream is gone' });
  });
});
