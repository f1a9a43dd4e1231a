// Raw HTTP: one exchange, one sync stream, and a fold that keeps a client's buckets and checks every checksum.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import http from 'node:http';
import { within } from './util.mjs';

/** One plain exchange. `body` may be a string or a value to be sent as JSON. */
export function request(base, method, route, { token, body, headers = {}, timeout = 15000 } = {}) {
  const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  const h = { ...headers };
  if (token) h.authorization = `Bearer ${token}`;
  if (payload !== undefined) {
    h['content-type'] ??= 'application/json';
    h['content-length'] = Buffer.byteLength(payload);
  }
  return new Promise((resolve, reject) => {
    const req = http.request(new URL(route, base), { method, headers: h, agent: false }, (res) => {
      const parts = [];
      res.on('data', (d) => parts.push(d));
      res.on('error', reject);
      res.on('end', () => {
        const text = Buffer.concat(parts).toString();
        let json;
        try {
          json = JSON.parse(text);
        } catch {}
        resolve({ status: res.statusCode, headers: res.headers, text, json });
      });
    });
    req.setTimeout(timeout, () => req.destroy(new Error(`no answer from ${method} ${route} within ${timeout} ms`)));
    req.on('error', reject);
    req.end(payload);
  });
}

/** An open sync stream; lines go through `onLine` and are kept only as far as `waitFor` needs them. */
export class Stream {
  static open(base, { token, body = {}, onLine = () => {} }) {
    const s = new Stream();
    s.onLine = onLine;
    s.lines = [];
    s.cursor = 0;
    s.ended = false;
    s.waiters = new Set();
    const payload = JSON.stringify({ raw_data: true, include_checksum: true, ...body });
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(payload),
      accept: 'application/x-ndjson'
    };
    return new Promise((resolve, reject) => {
      const req = http.request(new URL('/sync/stream', base), { method: 'POST', headers, agent: false }, (res) => {
        s.status = res.statusCode;
        s.close = () => req.destroy();
        s.pause = () => res.pause(); // nothing more is read from the socket
        s.resume = () => res.resume();
        const end = (error) => {
          if (s.ended) return;
          s.ended = true;
          // Node reports a response that lacks its terminating chunk as an error or as not complete.
          s.clean = !error && res.complete;
          s.error = error;
          for (const f of [...s.waiters]) f();
        };
        let rest = [];
        res.on('data', (d) => {
          let from = 0;
          for (let i = d.indexOf(10); i >= 0; i = d.indexOf(10, from)) {
            const text = (rest.length ? Buffer.concat([...rest, d.subarray(from, i)]) : d.subarray(from, i)).toString();
            rest = [];
            from = i + 1;
            if (s.status === 200 && text.trim()) s.take(JSON.parse(text));
          }
          if (from < d.length) rest.push(d.subarray(from));
        });
        res.on('end', () => {
          s.text = Buffer.concat(rest).toString();
          end();
        });
        res.on('error', end);
        res.on('close', () => end(res.complete ? undefined : new Error('cut')));
        if (s.status === 200) resolve(s);
        else res.on('end', () => reject(Object.assign(new Error(`stream answers ${s.status}: ${s.text}`), { status: s.status })));
      });
      req.on('error', (e) => {
        s.error = e;
        reject(e);
      });
      req.end(payload);
    });
  }

  take(line) {
    try {
      this.onLine(line);
    } catch (e) {
      this.failure ??= e;
    }
    this.lines.push(line.data ? { data: { bucket: line.data.bucket, n: line.data.data.length } } : line);
    for (const f of [...this.waiters]) f();
    // A stream that is followed for long, and whose lines nobody waits for.
    if (this.lines.length > 4000) {
      const old = this.lines.splice(0, 2000).length;
      this.cursor = Math.max(0, this.cursor - old);
    }
  }

  /** The next line (from the cursor on) for which `pred` holds. Fails as soon as `onLine` threw. */
  waitFor(pred, timeout = 15000, what = String(pred)) {
    let scan;
    const found = new Promise((resolve, reject) => {
      scan = () => {
        if (this.failure) return reject(this.failure);
        while (this.cursor < this.lines.length) {
          const line = this.lines[this.cursor++];
          if (pred(line)) {
            this.waiters.delete(scan);
            return resolve(line);
          }
        }
        if (this.ended) reject(new Error(`the stream ended (${this.error?.message ?? 'in order'}) before: ${what}`));
      };
      this.waiters.add(scan);
      scan();
    });
    found.catch(() => {});
    return within(found, timeout, () => `line ${what}; last: ${JSON.stringify(this.lines.slice(-3)).slice(0, 300)}`).finally(() => this.waiters.delete(scan));
  }

  untilEnd(timeout = 15000) {
    let scan;
    const ended = new Promise((resolve) => {
      scan = () => this.ended && resolve();
      this.waiters.add(scan);
      scan();
    });
    return within(ended, timeout, 'end of the stream').finally(() => this.waiters.delete(scan));
  }
}

const checksum = (text) => crypto.createHash('sha256').update(text).digest().readUInt32LE(0);

/**
 * What a client holds: buckets with their operations folded to rows. Checks what the protocol promises: op ids ascend and never come
 * twice, `after` is where the bucket was, each operation's checksum, and at each complete checkpoint every bucket's checksum.
 */
export class Fold {
  constructor() {
    this.buckets = new Map(); // name -> { after, sum, count, rows: Map(key -> { op, type, id, data }) }
    this.announced = new Map();
    this.lastOp = 0n;
    this.ops = 0;
    this.completes = 0;
    this.writeCheckpoint = undefined;
  }

  /** The `buckets` member of the next request, so that a connection resumes where this client is. */
  positions() {
    return [...this.buckets].map(([name, b]) => ({ name, after: String(b.after) }));
  }

  add(line) {
    if (line.checkpoint) this.checkpoint(line.checkpoint);
    else if (line.checkpoint_diff) this.diff(line.checkpoint_diff);
    else if (line.data) this.data(line.data);
    else if (line.checkpoint_complete) this.complete(line.checkpoint_complete);
  }

  head(c) {
    const op = BigInt(c.last_op_id);
    assert.ok(op >= this.lastOp, `last_op_id went back from ${this.lastOp} to ${op}`);
    this.lastOp = op;
    this.pendingWrite = c.write_checkpoint;
  }

  checkpoint(c) {
    this.head(c);
    this.announced = new Map(c.buckets.map((b) => [b.bucket, b]));
    for (const name of [...this.buckets.keys()]) if (!this.announced.has(name)) this.buckets.delete(name);
  }

  diff(c) {
    this.head(c);
    for (const b of c.updated_buckets) this.announced.set(b.bucket, b);
    for (const name of c.removed_buckets) {
      this.announced.delete(name);
      this.buckets.delete(name);
    }
  }

  data(d) {
    let b = this.buckets.get(d.bucket);
    if (!b) this.buckets.set(d.bucket, (b = { after: 0n, sum: 0, count: 0, rows: new Map() }));
    assert.equal(BigInt(d.after), b.after, `a data line of ${d.bucket} begins elsewhere`);
    for (const o of d.data) {
      const op = BigInt(o.op_id);
      assert.ok(op > b.after, `op id ${op} of ${d.bucket} comes after ${b.after}`);
      b.after = op;
      this.ops++;
      if (o.op === 'CLEAR') {
        b.sum = b.count = 0;
        b.rows.clear();
      }
      b.sum = (b.sum + o.checksum) >>> 0;
      b.count++;
      const key = `${o.object_type}\0${o.object_id}\0${o.subkey}`;
      if (o.op === 'PUT') {
        assert.equal(o.checksum, checksum(`put.${o.object_type}.${o.object_id}.${o.data}`), `checksum of op ${op} in ${d.bucket}`);
        b.rows.set(key, { op, type: o.object_type, id: o.object_id, data: o.data });
      } else if (o.op === 'REMOVE') {
        assert.equal(o.checksum, checksum(`delete.${o.subkey}`), `checksum of op ${op} in ${d.bucket}`);
        b.rows.delete(key);
      }
    }
    assert.ok(BigInt(d.next_after) >= b.after);
    b.after = BigInt(d.next_after);
  }

  complete(c) {
    assert.equal(BigInt(c.last_op_id), this.lastOp);
    const bad = [];
    for (const [name, want] of this.announced) {
      const have = this.buckets.get(name) ?? { sum: 0, count: 0 };
      if (have.sum >>> 0 !== want.checksum >>> 0) bad.push(`${name}: ${have.sum}/${have.count}, announced ${want.checksum >>> 0}/${want.count}`);
    }
    assert.deepEqual(bad, [], 'checksums at a complete checkpoint');
    this.writeCheckpoint = this.pendingWrite;
    this.completes++;
  }

  /** The rows of an output table as the client sees them: of equal ids the newest operation wins. Map id -> parsed data. */
  rows(type) {
    const newest = new Map();
    for (const b of this.buckets.values()) {
      for (const r of b.rows.values()) {
        if (r.type !== type) continue;
        const other = newest.get(r.id);
        if (!other || other.op < r.op) newest.set(r.id, r);
      }
    }
    return new Map([...newest].map(([id, r]) => [id, JSON.parse(r.data)]));
  }
}
