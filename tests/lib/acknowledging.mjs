// What tests of checkpoint requests share: asking, following a stream's acknowledgements, a world whose source is behind a relay.
import assert from 'node:assert/strict';
import { SourceRelay } from './relay.mjs';
import { World } from './world.mjs';

export const ROUTE = '/sync/checkpoint-request';
export const MARKER = 'pg_logical_emit_message';
export const HEAD = 'pg_current_wal_insert_lsn';

export const acknowledged = (line) => (line.checkpoint ?? line.checkpoint_diff)?.write_checkpoint;
export const isComplete = (line) => line.checkpoint_complete !== undefined;

/** Asks for a checkpoint; the id that the service is at. */
export async function ask(w, user, client, id) {
  const r = await w.request('POST', ROUTE, { user, body: { client_id: client, checkpoint_request_id: String(id) } });
  assert.equal(r.status, 200, r.text);
  return r.json.data.checkpoint_request_id;
}

/** The legacy route. */
export async function generate(w, user, client) {
  const r = await w.request('GET', `/write-checkpoint2.json${client === undefined ? '' : `?client_id=${encodeURIComponent(client)}`}`, { user });
  assert.equal(r.status, 200, r.text);
  return r.json.data.write_checkpoint;
}

/** A stream that checks what every stream promises: acknowledged ids never go down, and are repeated once they came. */
export async function follow(w, user, client, body = {}) {
  const seen = { top: 0n, lines: 0 };
  const s = await w.stream({
    user,
    body: { client_id: client, ...body },
    onLine: (l) => {
      const head = l.checkpoint ?? l.checkpoint_diff;
      if (!head) return;
      const id = BigInt(head.write_checkpoint ?? 0);
      assert.ok(id >= seen.top, `${user}/${client}: write_checkpoint went from ${seen.top} to ${id}`);
      seen.top = id;
      seen.lines++;
    }
  });
  s.seen = seen;
  return s;
}

/** Waits for a complete checkpoint whose line carries the id or a greater one. */
export async function until(stream, id, timeout = 20000) {
  if (stream.applied === undefined || stream.applied < BigInt(id)) {
    const line = await stream.waitFor((l) => BigInt(acknowledged(l) ?? 0) >= BigInt(id), timeout, `an acknowledgement of ${id}`);
    stream.applied = BigInt(acknowledged(line));
    await stream.waitFor(isComplete, timeout, `the end of the checkpoint that acknowledges ${id}`);
  }
  return stream.applied;
}

/** A started world whose service reaches the source through `relay`. `firstDeploy`: called once it listens, when no sync config is configured. */
export async function relayed({ firstDeploy, ...options }) {
  const w = await World.create(options);
  try {
    w.relay = await SourceRelay.before(w.sourceUri);
    w.service.sourceUri = w.relay.uri;
    const destroy = w.destroy.bind(w);
    w.destroy = async () => {
      await destroy();
      await w.relay.close();
    };
    await w.service.start();
    if (firstDeploy) {
      await w.service.listening();
      await firstDeploy(w);
    }
    await w.service.ready();
  } catch (e) {
    await w.destroy();
    throw e;
  }
  return w;
}
