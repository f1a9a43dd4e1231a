// The port of the metrics: its text, and that the figures follow what happens.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { relayed } from '../lib/acknowledging.mjs';
import { deploy } from '../lib/deploy.mjs';
import { Sdk } from '../lib/sdk.mjs';
import { eventually, freePort } from '../lib/util.mjs';

describe('metrics', () => {
  let w;
  let url;
  before(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    w = await relayed({
      name: 'metrics',
      schema: "create table items(id text primary key, title text); insert into items select 'i' || n, 'x' from generate_series(1, 50) n; analyze items",
      sync: 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM items\n',
      config: { api: { tokens: ['admin-token'] }, telemetry: { disable_telemetry_sharing: true, prometheus_port: port } }
    });
  });
  after(() => w?.destroy());

  const read = async () => (await fetch(`${url}/metrics`)).text();
  const document = (name) => fs.readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');

  /** Families by name, after a strict look at the text format. */
  async function families() {
    const all = new Map();
    let family;
    const text = await read();
    assert.ok(text.endsWith('\n'));
    for (const line of text.trimEnd().split('\n')) {
      const help = /^# HELP ([a-z_:][a-z0-9_:]*) (.+)$/.exec(line);
      const unit = /^# UNIT (\S+) bytes$/.exec(line);
      const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
      if (help) {
        assert.ok(!all.has(help[1]), `${help[1]} comes twice`);
        all.set(help[1], (family = { name: help[1], samples: [] }));
      } else if (unit) {
        assert.equal(unit[1], family.name, 'UNIT follows its HELP');
        family.unit = 'bytes';
      } else if (type) {
        assert.equal(type[1], family.name, 'TYPE follows its HELP');
        assert.equal(family.unit === 'bytes', /_bytes(_total)?$/.test(family.name), `${family.name} has the unit of its name`);
        family.type = type[2];
      } else {
        const sample = /^([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (-?[0-9.e+-]+|[+-]Inf|NaN)$/.exec(line);
        assert.ok(sample, `not a line of the text format: ${line}`);
        assert.ok(sample[1] === family.name || (family.type === 'histogram' && sample[1].startsWith(`${family.name}_`)), line);
        if (family.type === 'counter') assert.match(sample[3], /^[0-9]+$/);
        family.samples.push({ name: sample[1], labels: sample[2] ?? '', value: Number(sample[3]) });
      }
    }
    return all;
  }

  const diagnostics = async () => {
    const r = await fetch(`${w.url}/api/admin/v1/diagnostics`, { method: 'POST', headers: { authorization: 'Bearer admin-token', 'content-type': 'application/json' }, body: '{}' });
    return (await r.json()).data;
  };

  /** Value of a series with its labels, or without; undefined: it is not printed. */
  async function metric(name) {
    const text = await read();
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

  test('the WAL that the source keeps for the slot is told', async () => {
    await eventually(async () => (await metric('syncline_replication_slot_wal_bytes')) > 0, { what: 'a look at the slot' });
    const [limit] = await w.q('show max_slot_wal_keep_size');
    const left = await metric('syncline_replication_slot_left_bytes');
    assert.equal(left === undefined, limit.max_slot_wal_keep_size === '-1', 'it is told where the source has a limit');
  });

  test('streams are counted, and what they sent', async () => {
    assert.equal(await metric('powersync_concurrent_connections'), 0);
    const sent = (await metric('powersync_operations_synced_total')) ?? 0; // not there before the first stream
    const client = await w.client().synced();
    assert.equal(await metric('powersync_concurrent_connections'), 1);
    assert.equal(await metric('powersync_operations_synced_total'), sent + 80);
    assert.ok((await metric('powersync_data_synced_bytes_total')) > 80 * 20);
    assert.equal(await metric('syncline_streams{transport="http"}'), 1);
    assert.equal(await metric('syncline_streams{transport="websocket"}'), 0);
    assert.equal(await metric('syncline_sent_bytes_total{encoding="identity"}'), await metric('powersync_data_sent_bytes_total'));
    client.close();
    await eventually(async () => (await metric('powersync_concurrent_connections')) === 0, { what: 'the stream is gone' });
  });

  test('streams over WebSocket are counted as such', async () => {
    const sdk = await Sdk.open(w, { tables: { items: { title: 'text' } }, transport: 'ws' });
    try {
      await sdk.synced();
      assert.equal(await metric('syncline_streams{transport="websocket"}'), 1);
      assert.equal(await metric('syncline_websockets'), 1);
      assert.equal(await metric('syncline_streams{transport="http"}'), 0);
      assert.equal(await metric('powersync_concurrent_connections'), 1);
    } finally {
      await sdk.close();
    }
    await eventually(async () => (await metric('syncline_streams{transport="websocket"}')) === 0, { what: 'the stream is gone' });
  });

  test('a first reading is told table by table by metrics and diagnostics, until it is over', async () => {
    // Rows are taken in once the stream is past them, and the stream is held back.
    w.relay.hold();
    await w.q("insert into items select 'k' || n, 'z' from generate_series(1, 5) n");
    await deploy(w, 'bucket_definitions:\n  all:\n    data:\n      - SELECT id, title, 1 AS n FROM items\n', { until: /Sync config updated/ });
    await eventually(async () => (await metric('syncline_snapshot_table_rows{table="public.items"}')) !== undefined, { what: 'the reading is told' });
    assert.ok((await metric('syncline_snapshot_table_rows_estimated{table="public.items"}')) > 0);
    const { deploying_sync_rules: deploying } = await diagnostics();
    const { snapshot } = deploying.connections[0].tables.find((t) => t.name === 'items');
    assert.equal(typeof snapshot.rows, 'number');
    assert.ok(snapshot.estimated_rows > 0 && snapshot.percent >= 0 && snapshot.percent <= 100, JSON.stringify(snapshot));
    w.relay.release();
    await eventually(async () => (await metric('syncline_snapshot_table_rows{table="public.items"}')) === undefined, { what: 'the reading is over' });
    await eventually(async () => (await diagnostics()).deploying_sync_rules === undefined, { what: 'the new sync config is active' });
    const stream = async () => (await diagnostics()).active_sync_rules.connections[0];
    await eventually(async () => Date.parse((await stream()).last_checkpoint_ts) <= Date.now(), { what: 'the time of the last checkpoint' });
    assert.equal((await stream()).tables[0].snapshot, undefined);
    assert.equal((await stream()).repeated_failures, undefined);
    assert.equal(typeof (await stream()).replication_lag_seconds, 'number');
    const c = w.client();
    await c.synced();
    await c.equals('items', 'select id, title, 1 as n from items');
  });

  test('the text is that of the format, histograms only rise', async () => {
    for (const f of (await families()).values()) {
      assert.ok(f.type, `${f.name} has a type`);
      assert.equal(f.type === 'counter', f.name.endsWith('_total'), `${f.name} is a ${f.type}`);
      if (f.type !== 'histogram') continue;
      const buckets = f.samples.filter((s) => s.name.endsWith('_bucket'));
      for (let i = 1; i < buckets.length; i++) assert.ok(buckets[i].value >= buckets[i - 1].value, f.name);
      assert.match(buckets.at(-1).labels, /le="\+Inf"/);
      assert.equal(buckets.at(-1).value, f.samples.find((s) => s.name.endsWith('_count')).value);
    }
  });

  test('docs/metrics.md lists what is printed, and nothing else', async () => {
    const listed = new Map();
    for (const [, names, there] of document('metrics.md').matchAll(/^\| (`[^|]+) \| (?:counter|gauge|histogram) \| .* \|( .*)? \|$/gm))
      for (const [, name] of names.matchAll(/`([a-z_]+)`/g)) listed.set(name, Boolean(there?.trim()));
    const printed = [...(await families()).keys()];
    assert.deepEqual(printed.filter((n) => !listed.has(n)), [], 'printed, not listed');
    assert.deepEqual([...listed].filter(([n, optional]) => !optional && !printed.includes(n)).map(([n]) => n), [], 'listed, not printed');
  });

  test('the dashboard and the alerts ask for metrics that there are', async () => {
    const listed = document('metrics.md').split('## Alerts')[0];
    const dashboard = JSON.parse(document('grafana-dashboard.json'));
    const asked = dashboard.panels.flatMap((p) => (p.targets ?? []).map((t) => t.expr)).join('\n') + document('metrics.md').split('## Alerts')[1];
    const names = new Set([...asked.matchAll(/\b(?:powersync|syncline|process)_[a-z_]+/g)].map(([n]) => n.replace(/_bucket$/, '')));
    assert.ok(names.size > 25);
    for (const n of names) assert.ok(listed.includes(`\`${n}\``), `${n} is listed`);
  });
});
