'use strict';
// For leak tests. GET /keep keeps an object; /drop keeps nothing; /later frees after 300 ms; /die ends the process;
// /bad fails; /worker keeps in a worker thread that sleeps in Atomics.wait between two tasks, as pools do.
const http = require('node:http');
const { Worker } = require('node:worker_threads');

class Kept { constructor(id) { this.id = id; this.text = `kept ${id}`; } }
const kept = [];
const later = new Map();
let count = 0;

const signal = new Int32Array(new SharedArrayBuffer(4));
const worker = process.env.WITH_WORKER && new Worker(`
  const { workerData } = require('worker_threads');
  const kept = [];
  for (;;) {
    Atomics.wait(workerData, 0, 0);
    Atomics.store(workerData, 0, 0);
    kept.push('row '.repeat(50) + kept.length);
  }`, { eval: true, workerData: signal });
worker?.unref();

http.createServer((request, response) => {
  count += 1;
  const id = count;
  if (request.url === '/keep') kept.push(new Kept(id));
  if (request.url === '/later') { later.set(id, new Kept(id)); setTimeout(() => later.delete(id), 300); }
  if (request.url === '/worker') { Atomics.store(signal, 0, 1); Atomics.notify(signal, 0); }
  if (request.url === '/bad') response.statusCode = 500;
  if (request.url === '/die' && id > 300) process.exit(3);
  response.end('ok');
}).listen(Number(process.env.PORT), '127.0.0.1');
