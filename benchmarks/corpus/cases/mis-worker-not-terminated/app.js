'use strict';
/**
 * One request in 250 exports a report in a worker thread of its own.
 * Leaky: the worker waits for further orders for ever. Fixed: it is terminated when the report is there.
 */
const { once } = require('node:events');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');

if (isMainThread) {
  const { leaky, serve } = require('../../serve');
  let count = 0;

  const exportReport = async () => {
    const worker = new Worker(__filename);
    worker.postMessage({ rows: 500 });
    const [csv] = await once(worker, 'message');
    if (!leaky) await worker.terminate();
    return csv.length;
  };

  serve(async () => (++count % 250 === 0 ? `report of ${await exportReport()} characters` : 'no report due'));
} else {
  parentPort.on('message', ({ rows }) => {
    parentPort.postMessage(Array.from({ length: rows }, (_, i) => `${i};${i * i}`).join('\n'));
  });
}
