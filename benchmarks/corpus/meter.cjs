'use strict';
/**
 * The meter of the independent verifier: preloaded into the app (`-r`), it answers `{id}` over IPC with the
 * memory of the process and of its worker threads after forced collections. Needs --expose-gc; opens no port.
 */
const fs = require('node:fs');
const { Session } = require('node:inspector');
const { setTimeout: sleep } = require('node:timers/promises');
const { isMainThread } = require('node:worker_threads');

const COLLECTIONS = 6;
const TURN_MS = 25; // finalizers and closing handles need turns of the loop between collections
const WORKER_ANSWER_MS = 150;
const WORKER_ASKS = 20;

async function settle() {
  for (let i = 0; i < COLLECTIONS; i++) {
    global.gc();
    await sleep(TURN_MS);
  }
  global.gc();
  global.gc();
}

/** Asks the worker behind an inspector session for its heap after collections. */
function askWorker(session, sessionId) {
  const params = { expression: 'gc(); gc(); gc(); process.memoryUsage().heapUsed', returnByValue: true };
  const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params });
  session.post('NodeWorker.sendMessageToWorker', { sessionId, message });
}

/**
 * Number of worker threads and the sum of their heaps in bytes. A pool's idle worker may sleep in
 * Atomics.wait, where it receives no message; an in-process inspector session interrupts it, if not always
 * at the first call.
 */
async function measureWorkers() {
  const session = new Session();
  const heaps = new Map();
  const silent = () => [...heaps].filter(([, bytes]) => bytes === null).map(([sessionId]) => sessionId);
  session.connect();
  session.on('NodeWorker.attachedToWorker', ({ params }) => heaps.set(params.sessionId, null));
  session.on('NodeWorker.detachedFromWorker', ({ params }) => heaps.delete(params.sessionId));
  session.on('NodeWorker.receivedMessageFromWorker', ({ params: { sessionId, message } }) => {
    heaps.set(sessionId, JSON.parse(message).result?.result?.value ?? null);
  });
  try {
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    for (let i = 0; i < WORKER_ASKS; i++) {
      await sleep(TURN_MS);
      for (const sessionId of silent()) askWorker(session, sessionId);
      await sleep(WORKER_ANSWER_MS);
      if (silent().length === 0) break;
    }
  } finally {
    session.disconnect();
  }
  if (silent().length > 0) throw new Error(`${silent().length} of ${heaps.size} workers did not answer`);
  return { workers: heaps.size, workerHeapUsed: [...heaps.values()].reduce((sum, bytes) => sum + bytes, 0) };
}

function countFds() {
  try {
    return fs.readdirSync('/proc/self/fd').length;
  } catch {
    return 0; // no /proc: file descriptors cannot be counted on this system
  }
}

function census() {
  const kinds = {};
  for (const kind of process.getActiveResourcesInfo()) kinds[kind] = (kinds[kind] ?? 0) + 1;
  return kinds;
}

async function measure() {
  const workers = await measureWorkers();
  await settle();
  const { heapUsed, external, arrayBuffers, rss } = process.memoryUsage();
  const kinds = census();
  const handles = Object.values(kinds).reduce((sum, n) => sum + n, 0);
  return { heapUsed, external, arrayBuffers, rss, handles, fds: countFds(), ...workers, kinds };
}

// The preload runs in worker threads too; only the main thread of the app answers.
if (isMainThread && process.send) {
  process.on('message', async ({ id }) => {
    try {
      process.send({ id, ...(await measure()) });
    } catch (error) {
      process.send({ id, error: error.message });
    }
  });
  process.channel.unref();
}
