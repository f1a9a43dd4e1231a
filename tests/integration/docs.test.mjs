// What the documents show works: configurations load, sync configs compile, and commands exist with their options.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { BINARY, temporaryFolder } from '../lib/service.mjs';

const top = fileURLToPath(new URL('../..', import.meta.url));
const documents = ['README.md', ...fs.readdirSync(path.join(top, 'docs')).filter((f) => f.endsWith('.md')).map((f) => `docs/${f}`)];
const texts = Object.fromEntries(documents.map((d) => [d, fs.readFileSync(path.join(top, d), 'utf8')]));

/** Fenced blocks, with the line where they begin. */
function blocks(text, language) {
  const found = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const fence = /^( *)```(\S*)/.exec(lines[i]);
    if (!fence) continue;
    const end = lines.findIndex((l, j) => j > i && l.trim() === '```');
    if (fence[2] === language) found.push({ line: i + 1, text: lines.slice(i + 1, end).map((l) => l.slice(fence[1].length)).join('\n') + '\n' });
    i = end;
  }
  return found;
}

const keysOf = (yaml) => [...yaml.matchAll(/^([a-z_]+):/gm)].map((m) => m[1]);
const SERVICE = /^(replication|storage|port|sync_config|client_auth|api|telemetry|migrations|healthcheck|system|tls)$/;
const SYNC = /^(bucket_definitions|streams|config|event_definitions|with)$/;

/** A value for each variable that the document names. */
function environment(yaml) {
  const casts = { number: '1', boolean: 'true' };
  return Object.fromEntries([...yaml.matchAll(/!env (PS_\w+)(?:::(\w+))?/g)].map((m) => [m[1], casts[m[2]] ?? (/PORT/.test(m[1]) ? '8080' : /URI/.test(m[1]) ? 'postgresql://u:p@h/d' : 'text')]));
}

describe('YAML in the documents', () => {
  let shown = 0;
  for (const [name, text] of Object.entries(texts)) {
    for (const block of blocks(text, 'yaml')) {
      const keys = keysOf(block.text);
      const place = `${name}:${block.line}`;
      if (keys.some((k) => SERVICE.test(k))) {
        shown++;
        test(`${place} is a configuration`, async () => {
          const dir = temporaryFolder('docs');
          const config = path.join(dir, 'powersync.yaml');
          fs.writeFileSync(config, block.text);
          const env = environment(block.text);
          const r = await syncline(['config', 'show'], { config, env });
          // A part of a configuration may lack what stands elsewhere, but not be wrong in what it has.
          if (r.code === 150) assert.match(r.err, /PSYNC_S110[5-8]/, r.err);
          assert.ok(!/is not a known key/.test(r.err), r.err);
          if (r.code !== 150 && /content:/.test(block.text)) assert.equal((await syncline(['validate'], { config, env })).code, 0);
        });
      } else if (keys.some((k) => SYNC.test(k))) {
        shown++;
        test(`${place} is a sync config`, async () => {
          const file = path.join(temporaryFolder('docs'), 'sync.yaml');
          // A part that stands beside definitions is given some.
          const rest = keys.some((k) => /^(bucket_definitions|streams)$/.test(k)) ? '' : 'bucket_definitions: {all: {data: [SELECT * FROM a_table]}}\n';
          fs.writeFileSync(file, block.text + rest);
          const r = await syncline(['validate', file]);
          assert.equal(r.code, 0, r.out + r.err);
        });
      }
    }
  }
  test('there are some', () => assert.ok(shown >= 6, String(shown)));
});

test('what is installed is in its place', () => {
  const prefix = temporaryFolder('install');
  execFileSync('cmake', ['--install', path.dirname(BINARY), '--prefix', prefix], { stdio: 'ignore' });
  for (const f of ['bin/syncline', 'share/man/man1/syncline.1', 'share/bash-completion/completions/syncline', 'share/doc/syncline/operations.md', 'share/doc/syncline/powersync-config.schema.json'])
    assert.ok(fs.statSync(path.join(prefix, f)).size > 100, f);
  const unit = fs.readFileSync(path.join(prefix, 'lib/systemd/system/syncline.service'), 'utf8');
  assert.match(unit, new RegExp(`^ExecStart=${prefix}/bin/syncline start -c /etc/syncline/powersync.yaml$`, 'm'));
});

test('docs/configuration.md has every key, and the schema says what each is for', () => {
  const missing = [];
  const walk = (schema, place) => {
    if (/keys$|object_storage$/.test(place)) return; // members of other formats
    for (const [name, value] of Object.entries(schema.properties ?? {})) {
      const isLeaf = !value.properties && !value.items?.properties && !value.items?.oneOf && !value.items?.allOf;
      if (isLeaf && !new RegExp(`[\`.]${name}\``).test(texts['docs/configuration.md'])) missing.push(`${place}.${name}`);
      if (!value.description) missing.push(`${place}.${name} (description in the schema)`);
      walk(value, `${place}.${name}`);
    }
    for (const part of [...(schema.allOf ?? []), ...(schema.anyOf ?? []), ...(schema.oneOf ?? []), schema.then, schema.items]) if (part && typeof part === 'object') walk(part, place);
  };
  walk(JSON.parse(fs.readFileSync(path.join(top, 'docs/powersync-config.schema.json'), 'utf8')), '');
  assert.deepEqual(missing, []);
});

const onDebian = fs.existsSync('/usr/bin/dpkg-query') && fs.existsSync('/usr/bin/readelf');
test('the container file installs every library that the program is linked with', { skip: !onDebian && 'not Debian' }, () => {
  const file = fs.readFileSync(path.join(top, 'packaging/Containerfile'), 'utf8');
  const running = file.slice(file.lastIndexOf('\nFROM ')).replaceAll('\\\n', ' ').split(/\s+/);
  const needed = [...execFileSync('readelf', ['-d', BINARY], { encoding: 'utf8' }).matchAll(/NEEDED.*\[(.*)\]/g)].map((m) => m[1]);
  for (const library of needed.filter((l) => !/^(libc|libm|libasan|libubsan|libtsan|ld-linux.*)\.so/.test(l))) {
    const owners = execFileSync('dpkg-query', ['-S', `*/${library}`], { encoding: 'utf8' }).split('\n').map((l) => l.split(':')[0]);
    assert.ok(owners.some((o) => running.includes(o)), `${library} (${owners.filter(Boolean)})`);
  }
});

describe('commands in the documents', () => {
  let help;
  before(async () => {
    const commands = [...(await syncline(['--help'])).out.matchAll(/^ {2}([a-z-]+) +\S/gm)].map((m) => m[1]);
    help = new Map();
    for (const c of commands) help.set(c, (await syncline([c, '--help'])).out);
  });
  for (const [name, text] of Object.entries(texts)) {
    test(name, () => {
      for (const [, before_, line] of text.matchAll(/(^ {4,}(?:\S*\/)?|`)syncline ([a-z][^`\n]*)/gm)) {
        const [command, ...words] = line.split(/[ |&]+/);
        // "syncline-store" and the like are names, not commands.
        assert.ok(help.has(command), `${before_}syncline ${line}`);
        const stop = words.findIndex((w) => w === 'syncline');
        for (const w of words.slice(0, stop < 0 ? undefined : stop).filter((x) => /^--?[a-z]/.test(x)))
          assert.ok(help.get(command).includes(w.replace(/[=,.;].*/, '')), `syncline ${line}: ${w}`);
      }
    });
  }

  test('docs/errors.md has every error code', () => {
    const codes = (text) => new Set([...text.matchAll(/PSYNC_[RS]\d{4}/g)].map((m) => m[0]));
    const told = codes(texts['docs/errors.md']);
    const sources = fs.readdirSync(path.join(top, 'src'), { recursive: true }).filter((f) => /\.[ch]$/.test(f));
    for (const f of sources) for (const c of codes(fs.readFileSync(path.join(top, 'src', f), 'utf8'))) assert.ok(told.has(c), `${f}: ${c} is not in docs/errors.md`);
  });

  test('links between the documents lead somewhere', () => {
    for (const [name, text] of Object.entries(texts))
      for (const [, target] of text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g))
        if (!/^https?:/.test(target)) assert.ok(fs.existsSync(path.join(top, path.dirname(name), target)), `${name}: ${target}`);
  });

  test('make targets exist', () => {
    const makefile = fs.readFileSync(path.join(top, 'Makefile'), 'utf8');
    for (const [name, text] of Object.entries(texts))
      for (const [, target] of text.matchAll(/(?:^ {4}|`)make ([a-z-]+)/gm)) assert.match(makefile, new RegExp(`^${target}:`, 'm'), `${name}: make ${target}`);
  });
});
