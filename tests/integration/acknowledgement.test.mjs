// No acknowledgement before its data, with many clients at once: each writes a row, asks for a checkpoint, and must have the row when a
// complete checkpoint carries the request's id (sync-protocol 6, write checkpoints).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { sign } from '../lib/token.mjs';
import { within } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const CLIENTS = 8;
const ROUNDS = 150;

/** Lines of a stream, one after the other. */
async function* lines(body) {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    for (let end; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1)) yield JSON.parse(text.slice(0, end));
  }
}

class Client {
  constructor(w, name) {
    Object.assign(this, { w, name, token: sign(name), rows: new Set(), shown: 0n, applied: 0n, wake: () => {} });
  }

  post(route, body) {
    const headers = { authorization: `Token ${this.token}`, 'content-type': 'application/json' };
    return fetch(this.w.url + route, { method: 'POST', headers, body: JSON.stringify(body), signal: this.abort.signal });
  }

  async open() {
    this.abort = new AbortController();
    const r = await this.post('/sync/stream', { raw_data: true, client_id: 'c' });
    assert.equal(r.status, 200);
    this.reading = this.read(r.body).catch(() => {});
  }

  async read(body) {
    for await (const l of lines(body)) {
      for (const op of l.data?.data ?? []) this.rows.add(op.object_id);
      const checkpoint = l.checkpoint ?? l.checkpoint_diff;
      if (checkpoint?.write_checkpoint) this.shown = BigInt(checkpoint.write_checkpoint);
      if (l.checkpoint_complete) {
        this.applied = this.shown;
        this.wake();
      }
    }
  }

  async acknowledged(id) {
    while (this.applied < BigInt(id)) await new Promise((resolve) => (this.wake = resolve));
  }
}

describe('acknowledgements under load', () => {
  let w;
  before(async () => {
    w = await World.started({
      name: 'acknowledgement',
      schema: 'create table rows(id text primary key, owner text);',
      sync: 'bucket_definitions:\n  mine:\n    parameters: SELECT request.user_id() AS u\n    data:\n      - SELECT * FROM rows WHERE owner = bucket.u\n'
    });
  });
  after(() => w?.destroy());

  test('each row is there with its acknowledgement', { timeout: 120000 }, async () => {
    const early = [];
    await Promise.all(
      Array.from({ length: CLIENTS }, async (_, i) => {
        const c = new Client(w, `u${i}`);
        await c.open();
        for (let n = 1; n <= ROUNDS; n++) {
          const id = `${c.name}-${n}`;
          await w.q('insert into rows values ($1, $2)', [id, c.name]);
          const r = await c.post('/sync/checkpoint-request', { client_id: 'c', checkpoint_request_id: String(n) });
          assert.equal(r.status, 200, await r.text());
          await within(c.acknowledged(n), 10000, `acknowledgement of ${id}`);
          if (!c.rows.has(id)) early.push(id);
        }
        c.abort.abort();
      })
    );
    assert.deepEqual(early, []);
  });
});
