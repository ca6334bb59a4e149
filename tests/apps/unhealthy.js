// Listens at once, is healthy only from the third request on, and says so.
'use strict';
let requests = 0;
require('http').createServer((req, res) => {
  requests += 1;
  res.statusCode = requests < 3 ? 503 : 404;
  res.end();
  if (requests === 3) console.log('warm after 3 requests');
}).listen(Number(process.env.PORT));
