// The commands beside `start`: what they say and how they end.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { syncline } from '../lib/cli.mjs';
import { temporaryFolder } from '../lib/service.mjs';
import { AUDIENCE, keys, sign } from '../lib/token.mjs';
import { eventually, freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SCHEMA = `
  create table users(id text primary key, active bool not null);
  create table lists(id text primary key, owner text, name text);
  create table todos(id text primary key, list_id text, owner text, done bool);
  create table keyless(id text, owner text);
  insert into users values ('u1', true), ('u2', false);
  insert into lists select 'l' || i, case when i % 2 = 0 then 'u1' else 'u2' end, 'list ' || i from generate_series(1, 20) i;
  insert into todos select 't' || i, 'l1', 'u1', i % 3 = 0 from generate_series(1, 9) i;`;
const SYNC = `bucket_definitions:
  by_owner:
    parameters: SELECT id AS user_id FROM users WHERE id = request.user_id() AND active = true
    data:
      - SELECT * FROM lists WHERE owner = bucket.user_id
      - SELECT * FROM todos WHERE owner = bucket.user_id AND done = false
`;

const ALL = '  everybody:\n    data:\n';

/** A folder with a configuration without a source, for commands that need none. */
function folder(config = {}, name = 'powersync.yaml') {
  const dir = temporaryFolder('cli');
  const whole = { storage: { type: 'lmdb', path: 'data' }, client_auth: { audience: [AUDIENCE], jwks: keys() }, ...config };
  fs.writeFileSync(path.join(dir, name), JSON.stringify(whole));
  return { dir, config: path.join(dir, name) };
}

test('every command has a help text, and says nothing on standard error for it', async () => {
  const top = await syncline(['--help']);
  assert.equal(top.code, 0);
  const commands = [...top.out.matchAll(/^ {2}([a-z-]+) +\S/gm)].map((m) => m[1]);
  assert.ok(commands.length >= 8, top.out);
  for (const c of commands) {
    const r = await syncline([c, '--help']);
    assert.equal(r.code, 0, c);
    assert.equal(r.err, '', c);
    assert.match(r.out, new RegExp(`^Usage: syncline ${c}`), c);
    assert.equal((await syncline(['help', c])).out, r.out);
    const wrong = await syncline([c, '--surely-not-an-option']);
    assert.equal(wrong.code, 1, c);
    assert.match(wrong.err, /surely-not-an-option/);
    assert.equal(wrong.out, '', c);
  }
});

test('every command tells a bad configuration in the same form, with its exit code', async () => {
  const f = folder({ port: {} });
  const commands = [...(await syncline(['--help'])).out.matchAll(/^ {2}([a-z-]+) +\S/gm)].map((m) => m[1]);
  const words = { config: ['show'], 'auth-check': ['a.b.c'], token: ['--sub', 'u'], explain: ['--user', 'u'], migrate: ['up'], teardown: ['TEARDOWN'], pull: ['--sub', 'u'] };
  // configuration 1.6: these two report it as any other failure of theirs.
  const other = { teardown: 1, 'test-connection': 1 };
  for (const c of commands) {
    const json = (await syncline([c, '--help'])).out.includes('--json');
    const r = await syncline([c, ...(words[c] ?? []), ...(json ? ['--json'] : [])], f);
    assert.equal(r.code, other[c] ?? 150, `${c}: ${r.out}${r.err}`);
    if (json) {
      assert.equal(r.json.ok, false, c);
      assert.match(r.json.error.message, /powersync\.yaml:\d+:\d+: port must be/, c);
    } else {
      assert.match(r.out + r.err, /powersync\.yaml:\d+:\d+: port must be/, c);
    }
  }
});

describe('config show', () => {
  const secret = 'S3cretS3cret';
  const config = {
    replication: { connections: [{ type: 'postgresql', uri: `postgresql://joe:${secret}@db.example:5432/app` }] },
    api: { tokens: [secret] },
    client_auth: { audience: ['a'], jwks: { keys: [{ kty: 'oct', alg: 'HS256', kid: 'k1', k: Buffer.from(secret).toString('base64url') }] } },
    sytem: {}
  };

  test('prints the effective configuration without any secret', async () => {
    const f = folder(config);
    for (const form of [[], ['--json']]) {
      const r = await syncline(['config', 'show', ...form], f);
      assert.equal(r.code, 0, r.err);
      assert.ok(!r.out.includes(secret) && !r.out.includes(Buffer.from(secret).toString('base64url')), r.out);
      assert.match(r.out, /db\.example/);
      assert.match(r.err, /sytem.*system/, 'unknown keys are told, with a suggestion');
    }
    assert.equal((await syncline(['config', 'show', '--json'], f)).json.port, 8080);
  });

  test('takes variables from .env', async () => {
    const dir = temporaryFolder('dotenv');
    fs.writeFileSync(path.join(dir, '.env'), 'PS_PORT=9123\n');
    fs.writeFileSync(path.join(dir, 'powersync.yaml'), 'port: !env PS_PORT\n');
    assert.equal((await syncline(['config', 'show', '--json'], { cwd: dir })).json.port, 9123);
  });

  test('a configuration that cannot be read is 150, also as JSON', async () => {
    const f = folder({ port: {} });
    const r = await syncline(['config', 'show', '--json'], f);
    assert.equal(r.code, 150);
    assert.equal(r.json.ok, false);
    assert.match(r.json.error.message, /port/);
  });
});

describe('token and auth-check', () => {
  const allowed = () => folder({ client_auth: { audience: [AUDIENCE], jwks: keys(), development_tokens: true } });
  const check = (token, f = folder()) => syncline(['auth-check', '--json', '-'], { ...f, input: token });

  test('signs only when the configuration allows it', async () => {
    const r = await syncline(['token', '--sub', 'u1'], folder());
    assert.equal(r.code, 1);
    assert.match(r.err, /development_tokens/);
  });

  test('signs a token that is accepted', async () => {
    const f = allowed();
    const r = await syncline(['token', '--sub', 'u1', '--claims', '{"team":7}', '--lifetime', '60'], f);
    assert.equal(r.code, 0, r.err);
    const c = await check(r.out, f);
    assert.equal(c.code, 0, c.out);
    assert.equal(c.json.payload.team, 7);
    assert.equal(c.json.payload.exp - c.json.payload.iat, 60);
    assert.match(c.json.key, /kid: test, kty: oct, alg: HS256/);
  });

  const now = Math.floor(Date.now() / 1000);
  const cases = [
    ['a token that has expired', sign('u', { claims: { iat: now - 7200, exp: now - 3600 } }), 'PSYNC_S2103', /fresh token/],
    ['a lifetime that is too long', sign('u', { lifetime: 90000 }), 'PSYNC_S2104', /86400/],
    ['another audience', sign('u', { claims: { aud: 'elsewhere' } }), 'PSYNC_S2105', new RegExp(AUDIENCE)],
    ['another key', sign('u', { key: Buffer.from('x'.repeat(32)) }), 'PSYNC_S2101', /secret or public key differs/],
    ['no token at all', 'hello', 'PSYNC_S2101', /three base64url parts/],
    ['a missing claim', sign('u', { claims: { exp: undefined } }), 'PSYNC_S2101', /"exp"/]
  ];
  for (const [title, token, code, fix] of cases) {
    test(`says what is wrong with ${title}, and what would fix it`, async () => {
      const r = await check(token);
      assert.equal(r.code, 1);
      assert.equal(r.json.error.code, code, r.out);
      assert.match(r.json.fix, fix);
    });
  }

  test('names the keys that it knows when none fits', async () => {
    const other = folder({ client_auth: { audience: [AUDIENCE], jwks: { keys: [{ ...keys().keys[0], kid: 'other' }] } } });
    const r = await check(sign('u'), other);
    assert.match(r.json.fix, /kid "test"/);
    assert.match(r.json.keys.join(), /kid: other/);
  });
});

test('teardown deletes the store, and says so as JSON', async () => {
  const f = folder();
  assert.equal((await syncline(['migrate', 'up', '--json'], f)).json.ok, true);
  assert.ok(fs.existsSync(path.join(f.dir, 'data', 'data.mdb')));
  const refused = await syncline(['teardown', '--json'], f);
  assert.equal(refused.code, 150);
  assert.equal(refused.json.error.code, 'PSYNC_S0102');
  const r = await syncline(['teardown', 'TEARDOWN', '--json'], f);
  assert.equal(r.code, 0, r.out + r.err);
  assert.deepEqual(r.json, { ok: true });
  assert.ok(!fs.existsSync(path.join(f.dir, 'data')));
});

describe('validate', () => {
  const BAD = 'bucket_definitions:\n  a:\n    data:\n      - SELECT * FROM lists WHERE owner =\n';

  test('points at the place', async () => {
    const dir = temporaryFolder('validate');
    fs.writeFileSync(path.join(dir, 'sync.yaml'), BAD);
    const r = await syncline(['validate', 'sync.yaml'], { cwd: dir });
    assert.equal(r.code, 1);
    const lines = r.out.split('\n');
    assert.match(lines[0], /^sync\.yaml:\d+:\d+: error: /);
    assert.match(lines[2], /^ +\^$/);
    assert.match(lines[1], /SELECT \* FROM lists/);
  });

  test('tells the same as JSON', async () => {
    const dir = temporaryFolder('validate');
    fs.writeFileSync(path.join(dir, 'sync.yaml'), BAD);
    const r = await syncline(['validate', '--json', 'sync.yaml'], { cwd: dir });
    assert.equal(r.code, 1);
    assert.equal(r.json.ok, false);
    const d = r.json.diagnostics.find((x) => x.level === 'fatal');
    assert.ok(d.line >= 1 && d.location.end_offset >= d.location.start_offset, r.out);
  });
});

describe('against a source', () => {
  let w;
  before(async () => {
    w = await World.create({
      name: 'commands',
      schema: SCHEMA,
      sync: SYNC,
      config: { client_auth: { audience: [AUDIENCE], jwks: keys(), development_tokens: true }, api: { tokens: ['admin'] } }
    });
    await w.service.writeConfig();
  });
  after(() => w?.destroy());
  const run = (args, options) => syncline(args, { config: w.service.configPath, cwd: w.service.dir, ...options });
  const withSync = async (text, body) => {
    fs.writeFileSync(path.join(w.service.dir, 'sync-config.yaml'), text);
    try {
      return await body();
    } finally {
      fs.writeFileSync(path.join(w.service.dir, 'sync-config.yaml'), SYNC);
    }
  };
  const messages = (r, status) => r.json.checks.filter((c) => c.status === status).map((c) => `${c.subject}: ${c.message}`);

  test('check finds nothing wrong with a working set-up, and makes nothing', async () => {
    const r = await run(['check', '--json']);
    assert.deepEqual(messages(r, 'error'), []);
    assert.equal(r.code, 0);
    assert.equal((await w.slots()).length, 0);
    assert.ok(!fs.existsSync(path.join(w.service.dir, 'data')));
    const text = await run(['check']);
    assert.match(text.out, /wal_level is logical/);
    assert.match(text.out, /\n0 errors, /);
  });

  test('check names tables that cannot be replicated', async () => {
    await w.q('alter publication powersync rename to other');
    await w.q('create publication powersync for table users, lists');
    try {
      const r = await withSync(`${SYNC}${ALL}      - SELECT * FROM keyless\n      - SELECT id, nothere FROM lists\n      - SELECT * FROM missing\n`, () => run(['check', '--json']));
      assert.equal(r.code, 1);
      const errors = messages(r, 'error').join('\n');
      assert.match(errors, /ALTER PUBLICATION powersync ADD TABLE "public"."todos"/);
      assert.match(errors, /No replication id found for "public"."keyless"/);
      assert.match(errors, /sync-config\.yaml:\d+:\d+: .*nothere/);
      assert.match(messages(r, 'warning').join('\n'), /"public"."missing" not found/);
    } finally {
      await w.q('drop publication powersync');
      await w.q('alter publication other rename to powersync');
    }
  });

  test('check tells a missing publication, a taken port, an unknown key, a bad folder', async () => {
    await w.q('alter publication powersync rename to other');
    try {
      const r = await run(['check', '--json']);
      assert.match(messages(r, 'error').join('\n'), /PSYNC_S1141/);
      assert.equal(r.json.checks.find((c) => /S1141/.test(c.message)).fix, 'CREATE PUBLICATION powersync FOR ALL TABLES');
    } finally {
      await w.q('alter publication other rename to powersync');
    }
    const taken = new URL(w.server).port;
    const f = folder({ port: Number(taken), storage: { type: 'lmdb', path: `${w.service.configPath}/data` }, sytem: {} });
    const r = await syncline(['check', '--json'], f);
    const errors = messages(r, 'error').join('\n');
    assert.match(errors, new RegExp(`ports: port ${taken}`));
    assert.match(errors, /storage: .*powersync\.yaml\/data/);
    assert.match(errors, /configuration: .*sytem/);
  });

  test('check says why a source cannot be reached', async () => {
    const port = await freePort();
    const f = folder({ replication: { connections: [{ type: 'postgresql', uri: `postgresql://u:hidden@127.0.0.1:${port}/x`, sslmode: 'disable' }] } });
    const r = await syncline(['check', '--json'], f);
    assert.equal(r.code, 1);
    assert.match(messages(r, 'error').join('\n'), new RegExp(`source: cannot connect to 127.0.0.1:${port}`));
    assert.ok(!r.out.includes('hidden'));
    const c = await syncline(['test-connection'], f);
    assert.equal(c.code, 1);
    assert.match(c.out, /^Connection failed: /);
  });

  test('test-connection succeeds', async () => {
    const r = await run(['test-connection']);
    assert.equal(r.code, 0, r.out + r.err);
    assert.match(r.out, new RegExp(`^Connection succeeded to postgresql://127.0.0.1:\\d+/${w.database}`));
  });

  test('validate --source knows the schema', async () => {
    assert.equal((await run(['validate', '--source'])).code, 0);
    const r = await withSync(`${SYNC}${ALL}      - SELECT id, nothere FROM lists\n`, () => run(['validate', '--source', '--json']));
    assert.equal(r.code, 1);
    assert.deepEqual(r.json.diagnostics.map((d) => d.class), ['column_not_found']);
  });

  test('check beside the running service is well with its port and store', async () => {
    await w.service.start();
    await w.service.ready();
    const r = await run(['check', '--json']);
    assert.equal(r.code, 0, r.out);
    assert.match(messages(r, 'note').join('\n'), new RegExp(`in use by process ${w.service.child.pid}`));
  });

  test('pull prints exactly the rows of the user', async () => {
    const r = await run(['pull', '--sub', 'u1', '--stats']);
    assert.equal(r.code, 0, r.err);
    const rows = r.lines;
    assert.ok(rows.every((x) => x.op === 'PUT'));
    const ids = (type) => rows.filter((x) => x.type === type).map((x) => x.id).sort();
    assert.deepEqual(ids('lists'), (await w.q(`select id from lists where owner = 'u1' order by id collate "C"`)).map((x) => x.id));
    assert.deepEqual(ids('todos'), (await w.q(`select id from todos where owner = 'u1' and not done order by id collate "C"`)).map((x) => x.id));
    assert.equal(JSON.parse(r.err).buckets, 1);
    assert.deepEqual((await run(['pull', '--sub', 'u2'])).lines, []);
  });

  test('pull takes a token, and says why it is refused', async () => {
    const r = await run(['pull', '--token', '-', '--url', w.url], { input: sign('u1') });
    assert.equal(r.code, 0, r.err);
    assert.ok(r.lines.length > 0);
    const bad = await run(['pull', '--token', sign('u1', { claims: { aud: 'x' } })]);
    assert.equal(bad.code, 1);
    assert.match(bad.err, /401 PSYNC_S2105/);
  });

  test('pull shows how far it is on a terminal, and only there', async (t) => {
    const { BINARY } = await import('../lib/service.mjs');
    const { spawnSync } = await import('node:child_process');
    if (spawnSync('script', ['--version']).error) return t.skip('no script (util-linux) here');
    // Rows go to a file; what is left on the terminal is the progress.
    const rows = path.join(w.service.dir, 'rows.jsonl');
    const r = spawnSync('script', ['-qec', `${BINARY} pull --token ${sign('u1')} --url=${w.url} --stream=nothing > ${rows}`, '/dev/null'], { encoding: 'utf8' });
    assert.equal(r.status, 0, r.stdout);
    assert.match(r.stdout, /\rDownloading  \[[#-]{20}\] +\d+ %  \d+ of \d+ operations in \d+ buckets\x1b\[K/);
    assert.equal(fs.readFileSync(rows, 'utf8').split('\n').filter(Boolean).length, 16);
    assert.ok(!/Downloading/.test((await run(['pull', '--sub', 'u1'])).err));
  });

  test('pull --follow prints changes, also after the service was away', async () => {
    let lines = () => [];
    const running = (async () => {
      const { spawn } = await import('node:child_process');
      const { BINARY } = await import('../lib/service.mjs');
      const child = spawn(BINARY, ['pull', '--token', sign('u1'), '--url', w.url, '--follow'], { stdio: ['ignore', 'pipe', 'ignore'] });
      let out = '';
      child.stdout.on('data', (d) => (out += d));
      lines = () => out.split('\n').slice(0, -1).map((l) => JSON.parse(l));
      return child;
    })();
    const child = await running;
    try {
      await eventually(() => lines().length > 10, { what: 'the first rows' });
      await w.q(`insert into lists values ('new', 'u1', 'a new one')`);
      await eventually(() => lines().some((x) => x.op === 'PUT' && x.id === 'new'), { what: 'the new row' });
      await w.service.stop();
      await w.service.start();
      await w.service.ready();
      await w.q(`delete from lists where id = 'new'`);
      await eventually(() => lines().some((x) => x.op === 'REMOVE' && x.id === 'new'), { what: 'the removal' });
    } finally {
      child.kill();
    }
  });

  test('pull fills a SQLite file', async (t) => {
    const file = path.join(w.service.dir, 'rows.db');
    const r = await run(['pull', '--sub', 'u1', '--sqlite', file]);
    if (r.code !== 0 && /libsqlite3/.test(r.err)) return t.skip('no libsqlite3 here');
    assert.equal(r.code, 0, r.err);
    const { default: Database } = await import('better-sqlite3');
    const db = new Database(file, { readonly: true });
    const names = db.prepare(`select data ->> 'name' as name from lists order by id`).all().map((x) => x.name);
    assert.deepEqual(names, (await w.q(`select name from lists where owner = 'u1' order by id collate "C"`)).map((x) => x.name));
    db.close();
  });
});

describe('explain', () => {
  let w;
  before(async () => {
    w = await World.started({
      name: 'explain',
      schema: SCHEMA,
      sync: `${SYNC}  shared:
    data:
      - SELECT * FROM lists WHERE owner IS NULL
`
    });
  });
  after(() => w?.destroy());
  const run = (...args) => syncline(['explain', '--json', ...args], { config: w.service.configPath });
  const user = async (...args) => {
    const r = await run('--user', ...args);
    assert.equal(r.code, 0, r.err + r.out);
    return r.json.user;
  };
  const row = async (id) => {
    const r = await run('--row', id);
    assert.equal(r.code, 0, r.err + r.out);
    return r.json.row;
  };

  test('names buckets as clients see them, with the lookup that led there', async () => {
    const c = await w.client({ user: 'u1' }).synced();
    const running = await user('u1');
    await w.service.stop();
    const u = await user('u1');
    assert.deepEqual(running, u, 'the same beside the running service');
    assert.deepEqual(u.buckets.filter((b) => b.operations).map((b) => b.bucket).sort(), c.fold.positions().map((b) => b.name).sort());
    assert.deepEqual(u.lookups.map((l) => [l.key, l.results]), [[['u1'], [{ user_id: 'u1' }]]]);
    const mine = u.buckets.find((b) => b.definition === 'by_owner');
    assert.deepEqual(mine.because, [{ default: 'by_owner' }]);
    assert.ok(mine.operations >= 16);
  });

  test('takes whole claims, and shows a lookup that gives nothing', async () => {
    const u = await user('{"sub":"u2","role":"x"}');
    assert.deepEqual(u.claims, { sub: 'u2', role: 'x' });
    assert.deepEqual(u.lookups.map((l) => l.results), [[]]);
    assert.deepEqual(u.buckets.map((b) => b.definition), ['shared']);
  });

  test('says where a row goes, and which condition keeps it out', async () => {
    const list = await row('lists:l2');
    assert.ok(list.found);
    const [mine, shared] = ['by_owner', 'shared'].map((d) => list.definitions.find((x) => x.definition === d));
    assert.equal(mine.passes, true);
    assert.match(mine.buckets[0].bucket, /^\d+#by_owner\["u1"\]$/);
    assert.equal(mine.buckets[0].data.name, 'list 2');
    assert.equal(shared.passes, false);
    assert.match(shared.reason, /owner IS NULL is not true \(owner is "u1"\)/);
    const todo = (await row('todos:t3')).definitions[0];
    assert.equal(todo.passes, false);
    assert.match(todo.reason, /done.*\(done is 1\)/);
    const lookup = (await row('public.users:u2')).definitions[0];
    assert.equal(lookup.kind, 'lookup');
    assert.match(lookup.reason, /active/);
    assert.equal((await row('lists:nobody')).found, false);
    assert.equal((await run('--row', 'nothere:1')).code, 1);
  });

  test('tells people the same', async () => {
    const r = await syncline(['explain', '--user', 'u1', '--row', 'lists:l1'], { config: w.service.configPath });
    assert.equal(r.code, 0, r.err);
    assert.match(r.out, /by_owner\["u1"\]/);
    assert.match(r.out, /row l1 of public\.lists/);
  });
});
