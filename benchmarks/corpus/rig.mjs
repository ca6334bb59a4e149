/**
 * Starts a corpus app, loads it over HTTP and reads its meter; `verify.mjs` is its user.
 *
 * It is deliberately independent of pytest-memory: Node's own HTTP client, IPC instead of the inspector, and
 * no code in common, so that ground truth and verdict cannot share a mistake.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

export const CORPUS = path.dirname(fileURLToPath(import.meta.url));
const READY_MS = 30_000;
const START_ATTEMPTS = 3;
const MEASURE_MS = 60_000;
const REQUEST_MS = 30_000;

// Optimized code comes and goes by 100-300 KB. A leak does not depend on it, so the meter runs without; Maglev
// is on by default from Node 22.
const QUIET_FLAGS = ['--no-opt'];
if (Number(process.versions.node.split('.')[0]) >= 22) QUIET_FLAGS.push('--no-maglev');

/** The case's record with every default written out. */
export function readCase(name) {
  const record = JSON.parse(fs.readFileSync(path.join(CORPUS, 'cases', name, 'case.json'), 'utf8'));
  return { method: 'GET', headers: {}, body: null, needs_redis: false, addon: null, entry: 'app.js', ...record };
}

/** Names of all cases, in order. */
export function caseNames() {
  const cases = path.join(CORPUS, 'cases');
  return fs.readdirSync(cases).filter((name) => fs.existsSync(path.join(cases, name, 'case.json'))).sort();
}

// Whatever ends the verifier, no app and no Redis outlives it.
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/** spawn() of a child that ends with this process. */
function spawnOwned(...args) {
  const child = spawn(...args);
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  return port;
}

async function startRedis() {
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const child = spawnOwned('redis-server', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const failed = once(child, 'error').then(([error]) => { throw new Error(`redis-server: ${error.message}`); });
  await Promise.race([untilPrinted(child.stdout, /Ready to accept connections/), failed]);
  return { port, stop: () => stop(child) };
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGTERM');
  const hard = setTimeout(() => child.kill('SIGKILL'), 2000);
  await gone;
  clearTimeout(hard);
}

async function untilPrinted(stream, pattern) {
  let text = '';
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (pattern.test(text)) break;
  }
  stream.resume(); // keep draining, or the app would block on a full pipe
  if (!pattern.test(text)) throw new Error(`ended without ${pattern}: ${text.slice(-500)}`);
}

/** A started app: `load`, `measure`, `stop`. */
export class App {
  static async start(record, variant) {
    for (let attempt = 1; ; attempt++) {
      const app = new App(record);
      try {
        await app.#spawn(variant);
        return app;
      } catch (error) {
        await app.stop();
        // Between finding a free port and listening on it, somebody else may have taken it.
        if (attempt === START_ATTEMPTS || !/EADDRINUSE/.test(error.message)) throw error;
      }
    }
  }

  constructor(record) {
    this.record = record;
    this.ok = 0;
    this.errors = 0;
    this.lastError = null;
    this.stderr = '';
    this.nextId = 0;
  }

  async #spawn(variant) {
    const { record } = this;
    this.redis = record.needs_redis ? await startRedis() : null;
    this.port = await freePort();
    const env = { ...process.env, NODE_ENV: 'production', PORT: String(this.port), VARIANT: variant };
    if (this.redis) env.REDIS_PORT = String(this.redis.port);
    this.child = spawnOwned(
      process.execPath,
      ['--expose-gc', ...QUIET_FLAGS, '-r', path.join(CORPUS, 'meter.cjs'), record.entry],
      { cwd: path.join(CORPUS, 'cases', record.name), env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] },
    );
    this.child.stderr.on('data', (data) => { this.stderr = (this.stderr + data).slice(-4000); });
    const late = sleep(READY_MS, null, { ref: false }).then(() => { throw new Error(`not ready in ${READY_MS} ms`); });
    await Promise.race([untilPrinted(this.child.stdout, /^ready$/m), late]).catch((error) => {
      throw new Error(`${error.message}\n${this.stderr.slice(0, 800)}`);
    });
  }

  /** Send `requests` requests over `concurrency` keep-alive connections, closed at the end. */
  async load(requests) {
    let left = requests;
    this.agent = new http.Agent({ keepAlive: true, maxSockets: this.record.load.concurrency });
    const user = async () => {
      while (left-- > 0) {
        try {
          const { status, text } = await this.#request();
          if (status < 400) this.ok++;
          else this.#fail(`${status} ${text}`);
        } catch (error) {
          this.#fail(String(error));
        }
      }
    };
    await Promise.all(Array.from({ length: this.record.load.concurrency }, user));
    // Left open, the app would close them as idle during a reading, and the next request might meet that.
    this.agent.destroy();
  }

  #fail(text) {
    this.errors++;
    this.lastError = text.slice(0, 300);
  }

  #request() {
    const { endpoint, method, headers, body } = this.record;
    const content = body === null ? null : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    const bodyHeaders = content && { 'content-type': 'application/json', 'content-length': content.length };
    return new Promise((resolve, reject) => {
      const options = { agent: this.agent, host: '127.0.0.1', port: this.port, path: endpoint, method };
      const request = http.request({ ...options, headers: { ...bodyHeaders, ...headers } }, (response) => {
        let text = '';
        response.on('data', (data) => { if (response.statusCode >= 400) text += data; });
        response.on('end', () => resolve({ status: response.statusCode, text }));
        response.on('error', reject);
      });
      request.on('error', reject);
      request.setTimeout(REQUEST_MS, () => request.destroy(new Error(`no answer in ${REQUEST_MS} ms`)));
      request.end(content);
    });
  }

  /** One reading of the meter, after forced collections. */
  measure() {
    return this.#ask();
  }

  #ask() {
    const id = ++this.nextId;
    return new Promise((resolve, reject) => {
      const onMessage = (answer) => {
        if (answer.id !== id) return;
        clearTimeout(late);
        this.child.off('message', onMessage);
        if (answer.error) reject(new Error(`meter: ${answer.error}`));
        else resolve(answer);
      };
      const late = setTimeout(() => reject(new Error(`the meter did not answer in ${MEASURE_MS} ms`)), MEASURE_MS);
      this.child.on('message', onMessage);
      this.child.send({ id });
    });
  }

  async stop() {
    this.agent?.destroy();
    if (this.child) await stop(this.child);
    await this.redis?.stop();
  }
}
