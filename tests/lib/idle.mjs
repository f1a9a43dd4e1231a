// Many idle streams and the requests of one user: what that costs, by the service's own counters.
import { ask, follow, isComplete, until } from './acknowledging.mjs';
import { syncline } from './cli.mjs';

/** Each user has a parameter lookup of its own, so that a step could read one. */
export const SCHEMA = `create table lists(id text primary key, owner text); create table rows(id text primary key, list text);
  insert into lists select 'l' || i, 'u' || i from generate_series(0, 99) i; insert into rows select 'r' || i, 'l' || i % 100 from generate_series(0, 199) i`;
export const SYNC = `bucket_definitions:
  mine:
    parameters: SELECT id AS list FROM lists WHERE owner = request.user_id()
    data:
      - SELECT * FROM rows WHERE list = bucket.list
`;

export async function openIdle(w, count) {
  const streams = [];
  while (streams.length < count) {
    const some = Array.from({ length: Math.min(100, count - streams.length) }, (_, k) => follow(w, `u${streams.length + k}`, 'c'));
    const opened = await Promise.all(some);
    await Promise.all(opened.map((s) => s.waitFor(isComplete, 60000)));
    streams.push(...opened);
  }
  return streams;
}

export const work = async (w) => (await syncline(['requests', '--limit', '1', '--json'], { config: w.service.configPath })).json.work;

/** Asks `requests` times for user u0, each until it is acknowledged; what the counters did meanwhile. */
export async function costOfRequests(w, streams, requests, first = 1) {
  const before = await work(w);
  const began = performance.now();
  for (let n = first; n < first + requests; n++) {
    await ask(w, 'u0', 'c', n);
    await until(streams[0], n);
  }
  const ms = performance.now() - began;
  const after = await work(w);
  return { ms, ...Object.fromEntries(Object.keys(after).map((k) => [k, k === 'streams' ? after[k] : after[k] - before[k]])) };
}
