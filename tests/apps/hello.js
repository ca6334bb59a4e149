// The smallest server: answers everything, listens where it is told.
'use strict';
const http = require('http');
http.createServer((req, res) => res.end('hello\n')).listen(Number(process.env.PORT), () => {
  console.log(`listening on ${process.env.PORT}`);
});
