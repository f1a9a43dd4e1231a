// A relay between a service and its source: replication can be held back (lag on demand), connections cut or refused, and statements
// counted or answered by cutting the connection they came on.
import net from 'node:net';

const PROTOCOL_3 = 196608;
const COPY_DATA = 0x64;
const POSITION = 0x72;

export class SourceRelay {
  static async before(uri) {
    const r = new SourceRelay();
    const u = new URL(uri);
    Object.assign(r, { target: { host: u.hostname, port: Number(u.port) }, pairs: new Set(), held: false, delay: 0, refusing: false, statements: new Map(), fatal: undefined });
    r.server = net.createServer((client) => r.accept(client));
    await new Promise((resolve) => r.server.listen(0, '127.0.0.1', resolve));
    u.host = `127.0.0.1:${r.server.address().port}`;
    r.uri = u.toString();
    return r;
  }

  accept(client) {
    if (this.refusing) return client.destroy();
    const upstream = net.connect(this.target);
    const pair = { client, upstream, kind: undefined };
    this.pairs.add(pair);
    for (const s of [client, upstream]) s.setNoDelay(true).on('error', () => pair.unanswered || this.drop(pair)).on('close', () => pair.unanswered || this.drop(pair));
    client.on('data', (d) => {
      if (!pair.kind && d.length >= 8 && d.readInt32BE(4) === PROTOCOL_3) {
        pair.kind = d.includes('replication\0') ? 'replication' : 'ordinary';
        if (pair.kind === 'replication' && this.held) upstream.pause();
      }
      if (this.fatal && d.includes(this.fatal)) {
        this.killed = (this.killed ?? 0) + 1;
        return this.drop(pair);
      }
      if (this.spy?.(pair, false, d)) return this.cut(pair);
      if (this.unanswered?.matches(d)) return this.leaveUnanswered(pair, d);
      if (this.mute && pair.kind === 'replication' && d[0] === COPY_DATA && d[5] === POSITION) return;
      for (const [text, n] of this.statements) if (d.includes(text)) this.statements.set(text, n + 1);
      upstream.write(d);
    });
    upstream.on('data', (d) => {
      if (pair.unanswered) return;
      if (this.spy?.(pair, true, d)) return this.cut(pair);
      if (this.delay && pair.kind === 'replication') setTimeout(() => client.writable && client.write(d), this.delay);
      else client.write(d);
    });
  }

  /** Cuts the first connection for which `spy(pair, fromSource, bytes)` is true; what it saw does not get through any more. Answers
   * a function that tells whether that has happened. */
  cutWhen(spy) {
    this.cuts = 0;
    this.spy = spy;
    return () => this.cuts > 0;
  }

  /** The next bytes for which `matches(bytes)` is true reach the database `late` ms after their sender was cut off, so that he gets no answer.
   * Answers a promise: the database has carried them out. */
  cutBeforeAnswer(matches, late = 0) {
    return new Promise((done) => (this.unanswered = { matches, late, done }));
  }

  leaveUnanswered(pair, bytes) {
    const { late, done } = this.unanswered;
    this.unanswered = undefined;
    pair.unanswered = true;
    pair.client.destroy();
    setTimeout(() => {
      pair.upstream.once('data', () => {
        pair.upstream.destroy();
        done();
      });
      pair.upstream.write(bytes);
    }, late);
  }

  cut(pair) {
    this.cuts++;
    this.spy = undefined;
    this.drop(pair);
  }

  drop(pair) {
    pair.client.destroy();
    pair.upstream.destroy();
    this.pairs.delete(pair);
  }

  /** Holds what the source sends to replication connections. */
  hold() {
    this.held = true;
    for (const p of this.pairs) if (p.kind === 'replication') p.upstream.pause();
  }

  release() {
    this.held = false;
    for (const p of this.pairs) p.upstream.resume();
  }

  /** Everything that the source streams comes so many milliseconds late (only ever raised: what is under way keeps its order). */
  late(ms) {
    this.delay = ms;
  }

  /** Positions do not reach the source any more, so that each new connection is sent all transactions again. */
  mutePositions() {
    this.mute = true;
  }

  /** Cuts the connections of the stream. */
  cutStream() {
    for (const p of [...this.pairs]) if (p.kind === 'replication') this.drop(p);
  }

  /** From now on the source is away. */
  away() {
    this.refusing = true;
    for (const p of [...this.pairs]) this.drop(p);
  }

  back() {
    this.refusing = false;
  }

  /** Statements that contain `text` are counted from now on; answers a function that tells how many came. */
  count(text) {
    this.statements.set(text, 0);
    return () => this.statements.get(text);
  }

  /** A connection that sends `text` is cut before the source has seen it. */
  cutAt(text) {
    this.fatal = text;
    this.killed = 0;
  }

  async close() {
    this.refusing = true;
    for (const p of [...this.pairs]) this.drop(p);
    await new Promise((resolve) => this.server.close(resolve));
  }
}
