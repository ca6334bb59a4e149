// A cluster of one whose worker is replaced in time: /keep?bytes=N keeps N bytes, /end replaces the worker, and so does
// the request numbered LIFE (environment) of each.  The new one listens before the old one leaves: no request is lost.
'use strict';
const cluster = require('cluster');
if (cluster.isPrimary) {
  cluster.fork();
  cluster.on('message', (old) => cluster.fork().once('listening', () => old.disconnect()));
} else {
  const life = Number(process.env.LIFE ?? Infinity);
  const kept = [];
  let count = 0;
  let ending = false;
  const server = require('http').createServer((request, response) => {
    count += 1;
    const url = new URL(request.url, 'http://localhost');
    if (url.pathname === '/keep') kept.push(new Array(Math.floor(Number(url.searchParams.get('bytes')) / 8)).fill(count + 0.5));
    if (!ending && (url.pathname === '/end' || count >= life)) {
      ending = true;
      process.send('replace me');
    }
    if (ending) response.setHeader('connection', 'close');
    response.end(String(process.pid));
  }).listen(Number(process.env.PORT), '127.0.0.1');
  process.on('disconnect', () => {
    server.closeIdleConnections?.();
    setTimeout(() => process.exit(0), 200);
  });
}
