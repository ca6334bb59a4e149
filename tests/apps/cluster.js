// A cluster of two; the primary does nothing but share the port.
'use strict';
const cluster = require('cluster');
if (cluster.isPrimary) {
  for (let i = 0; i < 2; i += 1) cluster.fork();
} else {
  require('http').createServer((req, res) => res.end(String(process.pid))).listen(Number(process.env.PORT));
}
