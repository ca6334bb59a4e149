// A server with two worker threads, one of which has a worker of its own; GET /end ends the first.
'use strict';
const { Worker, isMainThread, workerData } = require('worker_threads');
if (isMainThread) {
  const first = new Worker(__filename, { workerData: { depth: 1 }, name: 'first' });
  const second = new Worker(__filename, { workerData: { depth: 2 }, name: 'second' });
  let awaited = 3;
  for (const worker of [first, second]) {
    worker.on('message', () => {
      awaited -= 1;
      if (awaited === 0) listen();
    });
  }
  const listen = () => require('http').createServer(async (req, res) => {
    if (req.url === '/end') await first.terminate();
    res.end();
  }).listen(Number(process.env.PORT));
} else {
  const { parentPort } = require('worker_threads');
  globalThis.depth = workerData.depth;
  if (workerData.depth === 2) {
    const inner = new Worker(__filename, { workerData: { depth: 0 }, name: 'inner' });
    inner.on('message', () => parentPort.postMessage('inner is up'));
  }
  parentPort.postMessage('up');
  setInterval(() => {}, 1000);
}
