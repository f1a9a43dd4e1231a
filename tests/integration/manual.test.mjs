// Help texts, man page and shell completion tell the same commands and options.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { syncline } from '../lib/cli.mjs';
import { BINARY } from '../lib/service.mjs';

const file = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const names = (text) => [...text.matchAll(/(?<![\w-])--?[a-z][a-z0-9-]*/g)].map((m) => m[0]);

/** Options at the start of the lines that describe them; further words of the line are explanation. */
function optionsOfHelp(text) {
  const lines = text.split('\n').filter((l) => /^ {2,6}-/.test(l));
  return lines.flatMap((l) => names(l.trim().split(/ {2,}|(?<=--[a-z-]+) [A-Z]/)[0])).sort();
}

/** Section heading -> the options that its .TP paragraphs name. */
function optionsOfManual() {
  const plain = fs.readFileSync(file('docs/syncline.1'), 'utf8').replaceAll('\\-', '-').replace(/\\f[BIRP]/g, '');
  const sections = new Map();
  let options = [];
  const lines = plain.split('\n');
  lines.forEach((line, i) => {
    const heading = /^\.S[SH] "?(.*?)"?$/.exec(line);
    if (heading) sections.set(/^\.SS/.test(line) ? heading[1].split(' ')[0] : heading[1], (options = []));
    else if (lines[i - 1] === '.TP') options.push(...names(line));
  });
  for (const list of sections.values()) list.sort();
  return sections;
}

describe('help, man page and completion', () => {
  let commands, manual;
  const own = new Map();
  before(async () => {
    commands = [...(await syncline(['--help'])).out.matchAll(/^ {2}([a-z-]+) +\S/gm)].map((m) => m[1]);
    for (const c of commands) own.set(c, (await syncline([c, '--help'])).out);
    manual = optionsOfManual();
  });

  test('every command is in the man page, and nothing else', () => {
    const sections = [...manual.keys()].filter((k) => !/^[A-Z]/.test(k));
    assert.deepEqual(sections.sort(), [...commands].sort());
  });

  test('every option is in the man page, and nothing else', () => {
    const common = manual.get('OPTIONS OF EVERY COMMAND');
    assert.ok(common.length >= 8, common.join());
    for (const c of commands) {
      const all = optionsOfHelp(own.get(c));
      const shared = all.filter((o) => common.includes(o));
      assert.deepEqual(manual.get(c), all.filter((o) => !common.includes(o)), c);
      assert.ok(shared.includes('--help') && shared.includes('-h'), c);
      if (shared.length > 2) assert.deepEqual(shared, common, `${c} takes all options of the configuration`);
    }
  });

  test('the usage line names no option that is not described', () => {
    for (const c of commands) {
      const usage = own.get(c).split('\n\n')[0];
      const described = optionsOfHelp(own.get(c));
      for (const o of names(usage.replace(/^Usage: syncline [a-z-]+/, ''))) assert.ok(described.includes(o), `${c}: ${o}`);
    }
  });

  test('help texts fit a terminal of 130 columns', () => {
    for (const c of commands) for (const line of own.get(c).split('\n')) assert.ok(line.length <= 130, `${c}: ${line}`);
  });

  test('bash completes commands and options', () => {
    const complete = (...words) => {
      const script = `source ${file('scripts/completion/syncline.bash')}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _syncline; printf '%s\\n' "\${COMPREPLY[@]}"`;
      const env = { ...process.env, PATH: `${path.dirname(BINARY)}:${process.env.PATH}` };
      return execFileSync('bash', ['-c', script, 'bash', BINARY, ...words], { env, encoding: 'utf8' }).split('\n').filter(Boolean).sort();
    };
    assert.deepEqual(complete(''), [...commands, '--help', '--version'].sort());
    assert.deepEqual(complete('help', ''), [...commands].sort());
    for (const c of commands) assert.deepEqual(complete(c, '-'), optionsOfHelp(own.get(c)), c);
    assert.deepEqual(complete('validate', '--so'), ['--source']);
    assert.deepEqual(complete('config', ''), ['show']);
    assert.deepEqual(complete('migrate', ''), ['up']);
    assert.deepEqual(complete('teardown', ''), ['TEARDOWN']);
    assert.deepEqual(complete('start', '-r', ''), ['api', 'sync', 'unified']);
  });
});
