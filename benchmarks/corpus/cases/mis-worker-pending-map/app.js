'use strict';
/**
 * Scores requests in a plain worker thread that keeps the state of its running jobs in a map.
 * Leaky: the worker forgets to remove a finished job; the main thread's heap stays flat.
 */
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');

function runWorker({ leaky }) {
  const running = new Map();
  parentPort.on('message', ({ id, words }) => {
    running.set(id, { id, words, started: Date.now(), steps: ['parse', 'score'] });
    const score = words.reduce((sum, word) => sum + word.length, 0);
    if (!leaky) running.delete(id);
    parentPort.postMessage({ id, score });
  });
}

function runServer({ leaky, serve }) {
  const worker = new Worker(__filename, { workerData: { leaky } });
  const waiting = new Map();
  let count = 0;
  worker.on('message', ({ id, score }) => {
    waiting.get(id)(`score ${score}`);
    waiting.delete(id);
  });
  serve(() => new Promise((resolve) => {
    const id = ++count;
    waiting.set(id, resolve);
    worker.postMessage({ id, words: ['lorem', 'ipsum', 'dolor', `sit-${id}`] });
  }));
}

if (isMainThread) runServer(require('../../serve'));
else runWorker(workerData);
