// Runs a command of the program and takes what it says.
import { spawn } from 'node:child_process';
import { BINARY, temporaryFolder } from './service.mjs';
import { within } from './util.mjs';

/** The environment of a child, without what would configure it behind the test's back. */
export function cleanEnvironment(env = {}) {
  const kept = Object.fromEntries(Object.entries(process.env).filter(([k]) => !/^(PS_|POWERSYNC_|NODE_ENV$)/.test(k)));
  return { ...kept, ...env };
}

/** `config`: path of a configuration, given with -c. Answers { code, signal, out, err, json }. */
export async function syncline(args, { config, cwd = temporaryFolder('cli'), env, input = '', timeout = 30000 } = {}) {
  const child = spawn(BINARY, config ? [...args, '-c', config] : args, { cwd, env: cleanEnvironment(env), stdio: ['pipe', 'pipe', 'pipe'] });
  const r = { out: '', err: '' };
  child.stdout.on('data', (d) => (r.out += d));
  child.stderr.on('data', (d) => (r.err += d));
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const end = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  try {
    Object.assign(r, await within(end, timeout, () => `the end of ${args.join(' ')}; so far: ${r.out}${r.err}`));
  } catch (e) {
    child.kill('SIGKILL');
    throw e;
  }
  Object.defineProperty(r, 'json', { get: () => JSON.parse(r.out) });
  Object.defineProperty(r, 'lines', { get: () => r.out.split('\n').filter(Boolean).map((l) => JSON.parse(l)) });
  return r;
}
