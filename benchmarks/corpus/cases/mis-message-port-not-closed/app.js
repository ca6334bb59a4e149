'use strict';
/**
 * Asks a worker thread through a MessageChannel of its own per request.
 * Leaky: the reply port is never closed; it is a live handle, and its peer lives on in the worker.
 */
const { MessageChannel, Worker, isMainThread, parentPort } = require('node:worker_threads');

if (isMainThread) {
  const { leaky, serve } = require('../../serve');
  const worker = new Worker(__filename);
  let count = 0;

  serve(() => new Promise((resolve) => {
    const { port1: reply, port2: remote } = new MessageChannel();
    reply.on('message', (text) => {
      resolve(text);
      if (!leaky) reply.close(); // closes the worker's end too
    });
    worker.postMessage({ id: ++count, remote }, [remote]);
  }));
} else {
  parentPort.on('message', ({ id, remote }) => remote.postMessage(`answer ${id * 2}`));
}
