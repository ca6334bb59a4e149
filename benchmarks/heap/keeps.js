// What leaks while kernels compile: one object for each request.
'use strict';
class Kept { constructor(url) { this.url = url; this.at = Date.now(); } }
const kept = [];
require('http').createServer((request, response) => { kept.push(new Kept(request.url)); response.end('kept'); })
  .listen(Number(process.env.PORT), '127.0.0.1');
