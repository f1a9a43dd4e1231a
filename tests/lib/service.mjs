// The service as a child process: start, ready, stop, kill -9, its log.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { spawn } from 'node:child_process';
import { AUDIENCE, keys, sign } from './token.mjs';
import { Stream } from './stream.mjs';
import { eventually, freePort, within } from './util.mjs';

const top = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), '..', '..');
export const BINARY = process.env.SYNCLINE ?? path.join(top, 'build', 'syncline');

const running = new Set();
const folders = new Set();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
  for (const dir of folders) fs.rmSync(dir, { recursive: true, force: true });
});
for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(signal, () => process.exit(code));

export function temporaryFolder(name) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), `syncline-${name}-`));
  folders.add(dir);
  return dir;
}

export class Service {
  /**
   * `sync`: text of the sync config, written beside powersync.yaml. `config`: merged (one level) over the usual configuration, which is
   * written as JSON, a form of YAML. `env`: for the process.
   */
  constructor({ dir, sourceUri, sync, config = {}, env = {} }) {
    this.dir = dir ?? temporaryFolder('service');
    this.sourceUri = sourceUri;
    this.sync = sync;
    this.config = config;
    this.env = env;
    this.log = '';
    this.starts = 0;
  }

  async writeConfig() {
    this.port ??= await freePort();
    this.url = `http://127.0.0.1:${this.port}`;
    this.configPath = path.join(this.dir, 'powersync.yaml');
    const whole = {
      replication: { connections: [{ type: 'postgresql', uri: this.sourceUri, sslmode: 'disable' }] },
      storage: { type: 'lmdb', path: path.join(this.dir, 'data') },
      port: this.port,
      sync_config: { path: 'sync-config.yaml' },
      client_auth: { audience: [AUDIENCE], jwks: keys() },
      ...this.config
    };
    for (const k of Object.keys(whole)) if (whole[k] === undefined) delete whole[k];
    fs.writeFileSync(this.configPath, JSON.stringify(whole, null, 1));
    fs.writeFileSync(path.join(this.dir, 'sync-config.yaml'), this.sync ?? '');
  }

  /** Starts the process and comes back at once. */
  async start() {
    if (!this.configPath) await this.writeConfig();
    const from = this.log.length;
    const child = spawn(BINARY, ['start', '-c', this.configPath], {
      cwd: this.dir,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_ENV: '', ...this.env }
    });
    running.add(child);
    child.stdout.on('data', (d) => (this.log += d));
    child.stderr.on('data', (d) => (this.log += d));
    child.done = new Promise((resolve) =>
      child.once('close', (code, signal) => {
        running.delete(child);
        child.gone = true;
        resolve({ code, signal });
      })
    );
    child.once('error', (e) => (this.log += `\ncannot start: ${e.message}\n`));
    this.child = child;
    this.logStart = from;
    this.starts++;
    return this;
  }

  /** The log since the last start. */
  get freshLog() {
    return this.log.slice(this.logStart);
  }

  tail(n = 15) {
    // Not the answers to this test's own questions.
    const own = /(POST|GET) \/(sync|probes|write-checkpoint)|PSYNC_S2302/;
    return this.log.trimEnd().split('\n').filter((l) => !own.test(l)).slice(-n).join('\n');
  }

  /** Waits until a stream can be opened and shows a checkpoint. */
  async ready(timeout = 30000) {
    await eventually(
      async () => {
        if (this.child.gone) throw Object.assign(new Error(`the service ended by itself:\n${this.tail()}`), { fatal: true });
        const s = await Stream.open(this.url, { token: sign('readiness-probe') });
        try {
          return await s.waitFor((l) => l.checkpoint, 3000);
        } finally {
          s.close();
        }
      },
      { timeout, what: () => `the service is ready; its log ends:\n${this.tail()}` }
    );
    return this;
  }

  /** Waits until the process listens, whatever it can serve. */
  async listening(timeout = 10000) {
    await eventually(
      async () => {
        if (this.child.gone) throw Object.assign(new Error(`the service ended by itself:\n${this.tail()}`), { fatal: true });
        const answer = await fetch(`${this.url}/probes/startup`);
        return answer.status > 0;
      },
      { timeout, what: () => `the service listens; its log ends:\n${this.tail()}` }
    );
  }

  async exited(timeout = 10000) {
    return within(this.child.done, timeout, () => `end of the process; its log ends:\n${this.tail()}`);
  }

  /** SIGTERM; must end with exit code 0 within 5 s. */
  async stop() {
    if (!this.child || this.child.gone) return;
    this.child.kill('SIGTERM');
    const end = await within(this.child.done, 5000, 'orderly stop').catch((e) => {
      this.child.kill('SIGKILL');
      throw e;
    });
    assert.deepEqual(end, { code: 0, signal: null }, `orderly stop; the log ends:\n${this.tail()}`);
  }

  async kill9() {
    if (!this.child || this.child.gone) return;
    this.child.kill('SIGKILL');
    await this.child.done;
  }
}
