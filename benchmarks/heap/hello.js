// What is loaded while kernels compile: as busy as a server can be.
'use strict';
require('http').createServer((request, response) => response.end('hello world'))
  .listen(Number(process.env.PORT), '127.0.0.1');
