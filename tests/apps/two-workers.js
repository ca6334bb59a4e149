// Two worker threads: "full" holds 20 MB since its start, "leaky" keeps something of every request.
'use strict';
const { Worker } = require('worker_threads');
new Worker('globalThis.held = Array.from({ length: 2e5 }, (_, i) => ({ i, text: `held ${i}` })); setInterval(() => {}, 1e6)',
  { eval: true, name: 'full' });
const leaky = new Worker(`
  const { parentPort } = require('worker_threads');
  class Remembered { constructor(id) { this.id = id; this.text = 'remembered ' + id; } }
  const kept = [];
  parentPort.on('message', () => parentPort.postMessage(kept.push(new Remembered(kept.length))));`,
  { eval: true, name: 'leaky' });
const waiting = [];
leaky.on('message', () => waiting.shift().end('ok'));
require('http').createServer((request, response) => {
  waiting.push(response);
  leaky.postMessage('remember');
}).listen(Number(process.env.PORT), '127.0.0.1');
