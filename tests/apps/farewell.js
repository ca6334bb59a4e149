// A server that can be told how to end: GET /exit/7, /throw, /natural, /abort; SIGTERM lets it drain, then end with 3.
'use strict';
const server = require('http').createServer((req, res) => {
  res.end('ok', () => setTimeout(end, 10, req.url));
});
function end(url) {
  const [, how, status] = url.split('/');
  if (how === 'exit') process.exit(Number(status));
  if (how === 'throw') throw new Error('thrown on request');
  if (how === 'abort') process.abort();
  if (how === 'natural') {
    server.close();
    server.closeAllConnections();
  }
}
process.on('SIGTERM', () => {
  console.log('draining');
  setTimeout(() => process.exit(3), 100);
});
server.listen(Number(process.env.PORT));
