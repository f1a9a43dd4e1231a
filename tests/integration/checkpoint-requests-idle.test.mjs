// A request of one user causes work for that user's streams alone (`node bench/idle-streams.mjs` does it with 10,000).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCHEMA, SYNC, costOfRequests, openIdle } from '../lib/idle.mjs';
import { World } from '../lib/world.mjs';

test('beside 500 idle streams of other users a request wakes one stream, and no lookup is read', async () => {
  const w = await World.started({ name: 'idle', schema: SCHEMA, sync: SYNC, config: { api: { parameters: { max_concurrent_connections: 1000 } } } });
  try {
    const streams = await openIdle(w, 500);
    const cost = await costOfRequests(w, streams, 50);
    assert.equal(cost.streams, 500);
    assert.equal(cost.requests, 50);
    assert.equal(cost.lookups_read, 0);
    assert.ok(cost.session_wakes <= 50, `${cost.session_wakes} wakes`);
    assert.ok(cost.markers_made <= 50, `${cost.markers_made} markers`);
    for (const s of streams.slice(1)) assert.equal(s.seen.lines, 1, 'others were told nothing');
  } finally {
    await w.destroy();
  }
});
