// Deploying a changed sync config to a running service, and what its clients get of it.
import fs from 'node:fs';
import path from 'node:path';
import { eventually } from './util.mjs';

export const EDITION3 = 'config:\n  edition: 3\nstreams:\n';
/** A stream that every client gets. */
export const stream = (name, query, more = {}) => `  ${name}:\n    auto_subscribe: true\n${Object.entries(more).map(([k, v]) => `    ${k}: ${v}\n`).join('')}    query: ${query}\n`;

/** Writes the file, as an editor would, without telling the service. */
export function write(w, sync) {
  w.service.sync = sync;
  const file = path.join(w.service.dir, 'sync-config.yaml');
  fs.writeFileSync(`${file}.new`, sync);
  fs.renameSync(`${file}.new`, file);
}

/** Writes it, sends SIGHUP, and answers when the log says what has become of it (or, with `until`, that). */
export async function deploy(w, sync, { until = /Activated the sync config|Sync config unchanged|What runs goes on/, timeout = 20000 } = {}) {
  const from = w.service.log.length;
  write(w, sync);
  w.service.child.kill('SIGHUP');
  await eventually(() => until.test(w.service.log.slice(from)), { timeout, every: 20, what: () => `${until} in the log, which ends:\n${w.service.tail(8)}` });
  return w.service.log.slice(from);
}

/** Counts what a client (of world.mjs) gets: `ops` by number of the definition, `lines` by kind, `opened` streams. */
export function watch(client) {
  const seen = { ops: new Map(), lines: [], opened: 0 };
  const add = client.fold.add.bind(client.fold);
  client.fold.add = (line) => {
    const kind = Object.keys(line)[0];
    if (kind !== 'token_expires_in') seen.lines.push(kind);
    if (line.data) {
      const number = Number(line.data.bucket.split('#')[0]);
      seen.ops.set(number, (seen.ops.get(number) ?? 0) + line.data.data.length);
    }
    add(line);
  };
  const connect = client.connect.bind(client);
  client.connect = () => {
    seen.opened++;
    return connect();
  };
  return seen;
}

export const numbers = (client) => [...client.fold.announced.keys()].map((n) => Number(n.split('#')[0])).sort((a, b) => a - b);
export const names = (client) => [...client.fold.announced.keys()].sort();
