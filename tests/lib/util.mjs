// Small things that every test needs: waiting, free ports, a seeded random generator.
import fs from 'node:fs';
import net from 'node:net';

export const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

/** Polls `probe` until it answers something truthy. An error with `fatal` ends the waiting at once. */
export async function eventually(probe, { timeout = 15000, every = 50, what = 'the condition' } = {}) {
  const until = Date.now() + timeout;
  let last;
  for (;;) {
    try {
      const found = await probe();
      if (found) return found;
      last = undefined;
    } catch (e) {
      if (e.fatal) throw e;
      last = e;
    }
    if (Date.now() > until) {
      throw new Error(`not within ${timeout} ms: ${typeof what === 'function' ? what() : what}${last ? ` (${last.message})` : ''}`);
    }
    await sleep(every);
  }
}

export function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${typeof what === 'function' ? what() : what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const bindable = (port) =>
  new Promise((resolve) => {
    const s = net.createServer();
    s.once('error', () => resolve(false));
    s.listen(port, '0.0.0.0', () => s.close(() => resolve(true)));
  });

/** A free port below the range that the system hands out by itself. */
export async function freePort() {
  for (;;) {
    const port = 20000 + Math.floor(Math.random() * 10000);
    if (await bindable(port)) return port;
  }
}

/** Bytes that the peer of a socket on this machine has sent and this side has no room for. */
function unsentTo(socket) {
  const hex = (n) => n.toString(16).toUpperCase().padStart(4, '0');
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6'])
    for (const line of fs.readFileSync(table, 'utf8').split('\n')) {
      const [, from, to, , queues] = line.trim().split(/\s+/);
      if (from?.endsWith(`:${hex(socket.remotePort)}`) && to.endsWith(`:${hex(socket.localPort)}`)) return parseInt(queues, 16);
    }
  return 0;
}

/** Waits until the peer cannot get rid of more. */
export async function stuckAt(socket) {
  let before = 0;
  await eventually(
    () => {
      const unsent = unsentTo(socket), same = unsent > 0 && unsent === before;
      before = unsent;
      return same;
    },
    { every: 100, what: 'the peer is stuck' },
  );
}

/** A seeded generator (mulberry32): the same seed gives the same run. */
export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  /** An integer in [0, n). */
  below(n) {
    return Math.floor(this.next() * n);
  }
  chance(p) {
    return this.next() < p;
  }
  pick(list) {
    return list[this.below(list.length)];
  }
  /** Text of n characters that does not compress away. */
  text(n) {
    let out = '';
    while (out.length < n) out += Math.floor(this.next() * 4294967296).toString(36);
    return out.slice(0, n);
  }
}
