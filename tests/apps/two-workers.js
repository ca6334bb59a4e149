// Two worker threads: "full" holds 20 MB since its start, "leaky" keeps something of every request and sleeps in
// Atomics.wait between two, as the workers of a pool do.
'use strict';
const { Worker } = require('worker_threads');
const signal = new Int32Array(new SharedArrayBuffer(4));
new Worker('globalThis.held = Array.from({ length: 2e5 }, (_, i) => ({ i, text: `held ${i}` })); setInterval(() => {}, 1e6)',
  { eval: true, name: 'full' });
new Worker(`
  const { workerData } = require('worker_threads');
  class Remembered { constructor(id) { this.id = id; this.text = 'remembered ' + id; } }
  const kept = [];
  for (;;) {
    Atomics.wait(workerData, 0, 0);
    Atomics.store(workerData, 0, 0);
    kept.push(new Remembered(kept.length));
  }`, { eval: true, name: 'leaky', workerData: signal });
require('http').createServer((request, response) => {
  Atomics.store(signal, 0, 1);
  Atomics.notify(signal, 0);
  response.end('ok');
}).listen(Number(process.env.PORT), '127.0.0.1');
