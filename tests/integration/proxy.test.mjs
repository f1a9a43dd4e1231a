// The proxies of packaging/ in front of the service: lines come at once, WebSockets get through, and a client that leaves is noticed.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Sdk } from '../lib/sdk.mjs';
import { temporaryFolder } from '../lib/service.mjs';
import { request, Stream } from '../lib/stream.mjs';
import { sign } from '../lib/token.mjs';
import { eventually, freePort } from '../lib/util.mjs';
import { World } from '../lib/world.mjs';

const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n';
const SCHEMA = `create table lists(id text primary key, name text); insert into lists select 'l' || i, 'list ' || i from generate_series(1, 5) i`;
const packaged = (name) => fs.readFileSync(fileURLToPath(new URL(`../../packaging/${name}`, import.meta.url)), 'utf8');
const installed = (program, ...args) => {
  try {
    execFileSync(program, args, { stdio: 'ignore', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } });
    return true;
  } catch {
    return false;
  }
};
const replaced = (text, from, to) => {
  assert.ok(text.includes(from), from);
  return text.replace(from, to);
};

// Each writes its configuration into the folder, with test addresses, and answers the command that runs it in the foreground.
const proxies = {
  nginx: {
    there: installed('nginx', '-v'),
    command(dir, port, upstream, tlsPort) {
      execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
        '-addext', 'subjectAltName=DNS:localhost', '-keyout', path.join(dir, 'key.pem'), '-out', path.join(dir, 'cert.pem')], { stdio: 'ignore' });
      let site = replaced(packaged('nginx.conf'), 'listen 443 ssl http2;', `listen 127.0.0.1:${port}; listen 127.0.0.1:${tlsPort} ssl http2;`);
      site = replaced(site, '127.0.0.1:8080', `127.0.0.1:${upstream}`);
      site = replaced(site, '/etc/ssl/certs/sync.example.com.pem', path.join(dir, 'cert.pem'));
      site = replaced(site, '/etc/ssl/private/sync.example.com.key', path.join(dir, 'key.pem'));
      const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((p) => `${p}_temp_path ${dir}/${p};`).join(' ');
      const user = process.getuid() === 0 ? 'user root;' : '';
      const whole = `daemon off; ${user} pid ${dir}/pid; error_log ${dir}/error.log; events { worker_connections 100; } http { access_log off; ${paths}\n${site}\n}`;
      fs.writeFileSync(path.join(dir, 'nginx.conf'), whole);
      return ['nginx', '-p', dir, '-c', path.join(dir, 'nginx.conf')];
    }
  },
  caddy: {
    there: installed('caddy', 'version'),
    command(dir, port, upstream) {
      let site = replaced(packaged('Caddyfile'), 'sync.example.com {', `http://127.0.0.1:${port} {`);
      site = replaced(site, '127.0.0.1:8080', `127.0.0.1:${upstream}`);
      fs.writeFileSync(path.join(dir, 'Caddyfile'), `{\n\tadmin off\n}\n${site}`);
      return ['caddy', 'run', '--adapter', 'caddyfile', '--config', path.join(dir, 'Caddyfile')];
    }
  }
};

for (const [name, proxy] of Object.entries(proxies)) {
  describe(`behind ${name}`, { skip: !proxy.there && `${name} is not installed` }, () => {
    let w, child, url, tlsPort, dir;
    before(async () => {
      w = await World.started({ name: `behind-${name}`, schema: SCHEMA, sync: SYNC, config: { api: { tokens: ['admin'] } } });
      dir = temporaryFolder(name);
      const port = await freePort();
      tlsPort = await freePort();
      url = `http://127.0.0.1:${port}`;
      const [program, ...args] = proxy.command(dir, port, w.service.port, tlsPort);
      const env = { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir, PATH: `${process.env.PATH}:/usr/sbin` };
      child = spawn(program, args, { env, stdio: 'ignore' });
      await eventually(async () => (await request(url, 'GET', '/nothing')).status === 404, { what: `${name} answers` });
    });
    after(async () => {
      child?.kill('SIGTERM');
      await w?.destroy();
    });

    test('lines come at once', async () => {
      const s = await Stream.open(url, { token: sign('u1') });
      await s.waitFor((l) => l.checkpoint_complete, 5000);
      await w.q(`insert into lists values ('new-http', 'n')`);
      await s.waitFor((l) => l.checkpoint_complete, 5000, 'the change within seconds, not with the end of the stream');
      s.close();
    });

    test('a client that leaves is noticed', async () => {
      const s = await Stream.open(url, { token: sign('leaver') });
      await s.waitFor((l) => l.checkpoint_complete, 5000);
      s.close();
      await eventually(() => /Sync stream complete .*"user_id":"leaver"/.test(w.service.log), { what: 'the end of the stream' });
    });

    test('a compressed stream is passed on as it is', async () => {
      const answer = await fetch(`${url}/sync/stream`, { method: 'POST', headers: { authorization: `Token ${sign('u1')}`, 'content-type': 'application/json', 'accept-encoding': 'gzip' }, body: '{}' });
      assert.equal(answer.headers.get('content-encoding'), 'gzip');
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      while (!text.includes('checkpoint_complete')) text += (await reader.read()).value;
      await reader.cancel();
    });

    for (const transport of ['http', 'ws']) {
      test(`the SDK syncs and follows by ${transport}`, async () => {
        const c = await Sdk.open({ ...w, url, service: w.service, tx: w.tx.bind(w) }, { tables: { lists: { name: 'text' } }, transport });
        try {
          await c.synced();
          await w.q(`insert into lists values ('new-sdk-${transport}', 'n')`);
          await eventually(async () => (await c.db.getOptional('select id from lists where id = ?', [`new-sdk-${transport}`])) !== null, { what: 'the new row' });
        } finally {
          await c.db.disconnectAndClear();
          await c.db.close();
        }
      });
    }

    test('admin routes and probes are closed to the outside', async () => {
      for (const route of ['/probes/liveness', '/api/sync-rules/v1/current']) {
        assert.equal((await request(url, 'GET', route, { token: 'admin' })).status, 403, route);
        assert.notEqual((await request(w.url, 'GET', route, { token: 'admin' })).status, 403, route);
      }
    });

    if (name === 'nginx')
      test('TLS and HTTP/2 at the proxy', async () => {
        const args = ['-sS', '-N', '--http2', '--cacert', path.join(dir, 'cert.pem'), '--max-time', '10', '-w', '%{http_version}\n', '-X', 'POST', '-H', `Authorization: Token ${sign('u1')}`, '-H', 'Content-Type: application/json', '-d', '{}'];
        const out = await new Promise((resolve) => {
          const c = spawn('curl', [...args, '--resolve', `localhost:${tlsPort}:127.0.0.1`, `https://localhost:${tlsPort}/sync/stream`, '-D', '-']);
          let text = '';
          c.stderr.on('data', (d) => (text += d));
          c.stdout.on('data', (d) => {
            text += d;
            if (text.includes('checkpoint_complete')) c.kill();
          });
          c.on('close', () => resolve(text));
        });
        assert.match(out, /^HTTP\/2 200/);
        assert.match(out, /"checkpoint_complete"/);
      });
  });
}
