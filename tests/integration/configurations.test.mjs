// Configurations in the manner of common set-ups: the commands take them. Their meaning is compared in unit/config/test_configurations.c.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { temporaryFolder } from '../lib/service.mjs';

const top = fileURLToPath(new URL('../data/configurations', import.meta.url));

function environment(dir) {
  const file = path.join(dir, 'environment');
  if (!fs.existsSync(file)) return {};
  const lines = fs.readFileSync(file, 'utf8').split('\n').filter(Boolean);
  const value = (text) => {
    const whole = /^\{base64 (.*)\}$/.exec(text);
    return whole ? fs.readFileSync(path.join(dir, whole[1])).toString('base64') : text.replaceAll('\\n', '\n');
  };
  return Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf('=')), value(l.slice(l.indexOf('=') + 1))]));
}

describe('configurations of common set-ups', () => {
  for (const name of fs.readdirSync(top).filter((f) => !f.includes('.')).sort()) {
    const dir = temporaryFolder('configuration');
    fs.cpSync(path.join(top, name), dir, { recursive: true });
    const env = environment(dir);
    const run = (...args) => {
      const file = fs.existsSync(path.join(dir, 'powersync.json')) ? 'powersync.json' : 'powersync.yaml';
      return syncline(args, { cwd: dir, env, config: env.POWERSYNC_CONFIG_B64 ? undefined : file });
    };

    test(name, async () => {
      const shown = await run('config', 'show', '--json');
      assert.equal(shown.code, 0, shown.err);
      const secrets = JSON.parse(fs.readFileSync(path.join(dir, 'expected.json'), 'utf8')).secrets;
      const hidden = [secrets['source.password'], secrets['storage.password'], secrets.supabase_jwt_secret, secrets['source.client_private_key'], ...secrets.keys.map((k) => k.k)];
      for (const s of hidden.filter((x) => x?.length > 6)) assert.ok(!shown.out.includes(s), `config show prints ${s}`);

      const sync = shown.json.sync_config;
      const valid = await run('validate', '--json');
      if (sync.path || sync.content) assert.equal(valid.json.ok, true, valid.out);
      else assert.match(valid.json.error.message, /names no sync config/);
    });
  }

  test('a storage that this version cannot open is told at start, with what can be done', async () => {
    const dir = path.join(top, 'compose-mongodb');
    const r = await syncline(['start'], { config: path.join(dir, 'powersync.yaml'), env: environment(dir) });
    assert.equal(r.code, 150);
    assert.match(r.out, /storage\.type: 'mongodb' is not supported by this version.*'lmdb'/);
    assert.ok(!r.out.includes('m@ngo') && !r.out.includes('mypassword'));
  });
});
