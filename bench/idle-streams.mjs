// What the checkpoint requests of one user cost beside many idle streams of others, by the service's own counters.
//
//   PG_URI=postgres://user:password@host:port node bench/idle-streams.mjs [STREAMS=10000] [REQUESTS=100]
//
// PG_URI: a server with wal_level = logical; a database is made and dropped. Needs the packages of tests/ (make test installs them) and two
// file descriptors a stream. Prints one JSON object; session_steps has the keep-alives of all streams as well, so the same span of time
// without requests is measured after it.
import { costOfRequests, openIdle, SCHEMA, SYNC, work } from '../tests/lib/idle.mjs';
import { World } from '../tests/lib/world.mjs';
import { sleep } from '../tests/lib/util.mjs';

const [count, requests] = [Number(process.argv[2] ?? 10000), Number(process.argv[3] ?? 100)];
const w = await World.started({ name: 'idle_bench', schema: SCHEMA, sync: SYNC, config: { system: { logging: { level: 'warn' } }, api: { parameters: { max_concurrent_connections: count + 10 } } } });
try {
  const streams = await openIdle(w, count);
  const withRequests = await costOfRequests(w, streams, requests);
  const before = await work(w);
  await sleep(withRequests.ms);
  const after = await work(w);
  const others = streams.slice(1).filter((s) => s.seen.lines !== 1).length;
  console.log(JSON.stringify({ streams: count, others_that_got_a_line: others, with_requests: withRequests, idle_for_as_long: { session_steps: after.session_steps - before.session_steps, lookups_read: after.lookups_read - before.lookups_read, session_wakes: after.session_wakes - before.session_wakes } }, null, 1));
} finally {
  await w.destroy();
}
