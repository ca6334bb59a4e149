'use strict';
/**
 * Healthy: one request in a hundred runs a report in a worker thread of its own, which ends. Stacks, heaps and
 * arenas of workers come and go; RSS moves by megabytes.
 */
const { once } = require('node:events');
const { Worker, isMainThread, parentPort } = require('node:worker_threads');

if (isMainThread) {
  const { serve } = require('../../serve');
  let count = 0;

  const exportReport = async () => {
    const worker = new Worker(__filename);
    const exited = once(worker, 'exit');
    const [csv] = await once(worker, 'message');
    await exited;
    return csv.length;
  };

  serve(async () => (++count % 100 === 0 ? `report of ${await exportReport()} characters` : 'no report due'));
} else {
  parentPort.postMessage(Array.from({ length: 500 }, (_, i) => `${i};${i * i}`).join('\n'));
}
