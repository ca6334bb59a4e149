// GET /close: the app closes its inspector under the client's feet, and serves on.
'use strict';
require('http').createServer((req, res) => {
  if (req.url === '/close') setTimeout(() => require('inspector').close(), 10);
  res.end();
}).listen(Number(process.env.PORT));
