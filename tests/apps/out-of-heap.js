// GET /fill: keeps everything until V8 gives up.
'use strict';
const kept = [];
require('http').createServer((req, res) => {
  res.end();
  if (req.url === '/fill') for (;;) kept.push(new Array(1000).fill(kept.length));
}).listen(Number(process.env.PORT));
