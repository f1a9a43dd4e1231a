// Answers of the HTTP layer, as http-api-and-operations 2 and 3 show them.
import assert from 'node:assert/strict';
import net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { sign } from '../lib/token.mjs';
import { World } from '../lib/world.mjs';

const ADMIN = 'admin-token';
const SYNC = 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n';

describe('answers of the HTTP layer', () => {
  let w;
  before(async () => {
    w = await World.started({ name: 'http', schema: 'create table lists(id text primary key)', sync: SYNC, config: { api: { tokens: [ADMIN] } } });
  });
  after(() => w?.destroy());

  /** Sends bytes as they are; answers { status, headers, body, closed }. closed: the service ended the connection. */
  function raw(text, { waitForClose = false } = {}) {
    return new Promise((resolve, reject) => {
      const s = net.connect(w.service.port, '127.0.0.1', () => s.write(text));
      let got = '';
      const done = (closed) => {
        s.destroy();
        const [head, ...rest] = got.split('\r\n\r\n');
        const lines = head.split('\r\n');
        const headers = Object.fromEntries(lines.slice(1).map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 2)]));
        resolve({ status: Number(lines[0].split(' ')[1]), headers, body: rest.join('\r\n\r\n'), closed });
      };
      s.on('data', (d) => {
        got += d;
        const length = /content-length: (\d+)/i.exec(got);
        if (!waitForClose && length && got.length - got.indexOf('\r\n\r\n') - 4 >= Number(length[1])) done(false);
      });
      s.on('end', () => done(true));
      s.on('error', reject);
      s.setTimeout(5000, () => reject(new Error(`no end of the answer: ${got}`)));
    });
  }
  const post = (route, type, body, token = ADMIN) =>
    raw(`POST ${route} HTTP/1.1\r\nHost: x\r\nAuthorization: Token ${token}\r\n${type ? `Content-Type: ${type}\r\n` : ''}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  const framework = (code, status, description) => ({ error: { name: 'FastifyError', code, status, description } });

  const bodies = [
    ['an unknown path', () => raw('GET /nope?x=1 HTTP/1.1\r\nHost: x\r\n\r\n'), 404,
      { error: { code: 'PSYNC_S2002', status: 404, description: 'The path does not exist on this server', details: 'The path GET "/nope?x=1" does not exist on this server', severity: 'info', name: 'RouteNotFound' } }],
    ['a known path with another method', () => raw('DELETE /sync/stream HTTP/1.1\r\nHost: x\r\n\r\n'), 404, (b) => b.error.code === 'PSYNC_S2002'],
    ['a trailing slash', () => raw('GET /probes/liveness/ HTTP/1.1\r\nHost: x\r\n\r\n'), 404, (b) => b.error.code === 'PSYNC_S2002'],
    ['no token', () => raw('GET /write-checkpoint2.json HTTP/1.1\r\nHost: x\r\n\r\n'), 401, { error: { code: 'PSYNC_S2106', status: 401, description: 'Authentication required', name: 'AuthorizationError' } }],
    ['a wrong admin token', () => post('/api/admin/v1/schema', 'application/json', '{}', 'wrong'), 401, { error: { code: 'PSYNC_S2101', status: 401, description: 'Authorization failed', name: 'AuthorizationError' } }],
    ['a client token on an admin route', () => post('/api/admin/v1/schema', 'application/json', '{}', sign('u')), 401, (b) => b.error.description === 'Authorization failed'],
    ['an admin token on a client route', () => post('/sync/checkpoint-request', 'application/json', '{"client_id":"c","checkpoint_request_id":"1"}', ADMIN), 401, (b) => b.error.code === 'PSYNC_S2101'],
    ['a bad body before a bad token', () => post('/api/admin/v1/diagnostics', 'application/json', '{"sync_rules_content":1}', 'wrong'), 400,
      { error: { code: 'PSYNC_S2001', status: 400, description: 'Validation failed', details: '["/sync_rules_content: type must be boolean"]', name: 'ValidationError' } }],
    ['an empty JSON body', () => post('/api/admin/v1/schema', 'application/json', ''), 400, framework('FST_ERR_CTP_EMPTY_JSON_BODY', 400, "Body cannot be empty when content-type is set to 'application/json'")],
    ['malformed JSON', () => post('/api/admin/v1/schema', 'application/json', '{'), 400, framework('FST_ERR_CTP_INVALID_JSON_BODY', 400, "Body is not valid JSON but content-type is set to 'application/json'")],
    ['YAML where there is none', () => post('/api/admin/v1/schema', 'application/yaml', 'a: 1'), 415, framework('FST_ERR_CTP_INVALID_MEDIA_TYPE', 415, 'Unsupported Media Type')],
    ['a large JSON body', () => post('/api/admin/v1/schema', 'application/json', `"${'x'.repeat(1048576)}"`), 413, framework('FST_ERR_CTP_BODY_TOO_LARGE', 413, 'Request body is too large')],
    ['a broken escape in the path', () => raw('GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n'), 400, { error: 'Bad Request', code: 'FST_ERR_BAD_URL', message: "'/%zz' is not a valid url component", statusCode: 400 }],
    ['a large head', () => raw(`GET / HTTP/1.1\r\nHost: x\r\nA: ${'x'.repeat(17000)}\r\n\r\n`), 431, { error: 'Request Header Fields Too Large', message: 'Exceeded maximum allowed HTTP header size', statusCode: 431 }],
    ['what is not HTTP', () => raw('hello\r\n\r\n'), 400, { error: 'Bad Request', message: 'Client Error', statusCode: 400 }]
  ];
  for (const [title, ask, status, expected] of bodies) {
    test(title, async () => {
      const r = await ask();
      assert.equal(r.status, status, r.body);
      assert.equal(r.headers['content-type'], 'application/json; charset=utf-8');
      assert.equal(r.headers['access-control-allow-origin'], '*');
      assert.equal(r.headers['access-control-expose-headers'], 'Content-Type');
      const body = JSON.parse(r.body);
      if (typeof expected === 'function') assert.ok(expected(body), r.body);
      else assert.deepEqual(body, expected);
      assert.ok(!('www-authenticate' in r.headers));
    });
  }

  test('HTTP/1.1 without Host is refused, and the connection ends', async () => {
    const r = await raw('GET /probes/liveness HTTP/1.1\r\n\r\n', { waitForClose: true });
    assert.deepEqual([r.status, r.body, r.closed], [400, '', true]);
  });

  test('a preflight is answered for any path', async () => {
    const r = await raw('OPTIONS /any/path HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n\r\n');
    assert.equal(r.status, 204);
    const cors = Object.fromEntries(Object.entries(r.headers).filter(([k]) => k.startsWith('access-control')));
    assert.deepEqual(cors, {
      'access-control-allow-origin': '*',
      'access-control-expose-headers': 'Content-Type',
      'access-control-allow-methods': 'GET,HEAD,POST',
      'access-control-allow-headers': 'Content-Type, Authorization, User-Agent, X-User-Agent',
      'access-control-max-age': '3600'
    });
    assert.equal(r.headers['content-length'], '0');
    const bare = await raw('OPTIONS /any/path HTTP/1.1\r\nHost: x\r\n\r\n');
    assert.deepEqual([bare.status, bare.headers['content-type'], bare.body], [400, 'text/plain', 'Invalid Preflight Request']);
  });

  test('HEAD has the headers of GET', async () => {
    const [get, head] = [await raw('GET /probes/liveness HTTP/1.1\r\nHost: x\r\n\r\n'), await raw('HEAD /probes/liveness HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n', { waitForClose: true })];
    assert.equal(head.status, 200);
    assert.equal(head.body, '');
    assert.equal(head.headers['content-type'], get.headers['content-type']);
    assert.equal(get.headers['keep-alive'], 'timeout=72');
    assert.ok(Date.parse(get.headers.date) > 0);
  });
});
