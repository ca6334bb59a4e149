// A healthy API with a few megabytes of tables, for benchmarks/baseline_noise.py.  Two environment variables plant
// what a baseline must find: PLANT_HEAP_BYTES more on the settled heap, PLANT_BYTES_PER_REQUEST kept by each request.
'use strict';
const http = require('node:http');

const products = Array.from({ length: 20_000 }, (_, id) => ({ id, name: `product ${id}`, cents: 250 + id, tags: ['new', id % 7] }));
const planted = doubles(Number(process.env.PLANT_HEAP_BYTES ?? 0));
const bytesPerRequest = Number(process.env.PLANT_BYTES_PER_REQUEST ?? 0);
const kept = [];
const cache = new Map();
let served = 0;

function doubles(bytes) {
  // 8 bytes an element on the managed heap, nothing shared
  return Array.from({ length: Math.floor(bytes / 8) }, (_, index) => index + 0.5);
}

const routes = {
  '/orders': () => {
    const lines = products.slice(served % 1000, (served % 1000) + 20).map((product) => ({ ...product, quantity: 2 }));
    return { order: served, lines, cents: lines.reduce((sum, line) => sum + line.cents * line.quantity, 0) };
  },
  '/price': () => {
    const id = served % 300;
    if (!cache.has(id)) cache.set(id, { id, label: `price of ${id} `.repeat(3) });
    return cache.get(id);
  },
  '/upload': () => ({ sum: Buffer.alloc(64 * 1024, served % 256).reduce((sum, byte) => sum + byte, 0) }),
  '/': () => ({ ok: true, planted: planted.length }),
};

http.createServer((request, response) => {
  served += 1;
  if (bytesPerRequest) kept.push(doubles(bytesPerRequest - 24)); // array header and the slot in `kept`
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(routes[request.url.split('?')[0]]()));
}).listen(Number(process.env.PORT), '127.0.0.1');
