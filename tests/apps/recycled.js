// A cluster of one whose worker is replaced when it ends: /keep?bytes=N keeps N bytes, /end ends the worker, and so does
// every request after the first LIFE (environment) ones.
'use strict';
const cluster = require('cluster');
if (cluster.isPrimary) {
  cluster.fork();
  cluster.on('exit', () => cluster.fork());
} else {
  const life = Number(process.env.LIFE ?? Infinity);
  const kept = [];
  let count = 0;
  require('http').createServer((request, response) => {
    count += 1;
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/keep') kept.push(new Array(Math.floor(Number(url.searchParams.get('bytes')) / 8)).fill(count + 0.5));
    if (url.pathname === '/end' || count >= life) {
      response.setHeader('connection', 'close');
      response.on('close', () => process.exit(0));
    }
    response.end(String(process.pid));
  }).listen(Number(process.env.PORT), '127.0.0.1');
}
