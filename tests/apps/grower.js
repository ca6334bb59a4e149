// Keeps what it is told to keep: /grow?bytes=N retains N bytes of heap, /buffer?bytes=N of external memory;
// /die ends the process with status 7; /log prints; everything else answers ok.
'use strict';
const http = require('node:http');
const kept = [];

function retain(bytes) {
  // An array of doubles: 8 bytes an element, on the managed heap, nothing shared.
  const doubles = new Array(Math.floor(bytes / 8));
  for (let i = 0; i < doubles.length; i += 1) doubles[i] = i + 0.5;
  return doubles;
}

http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost');
  const bytes = Number(url.searchParams.get('bytes') ?? 0);
  if (url.pathname === '/grow') kept.push(retain(bytes));
  if (url.pathname === '/buffer') kept.push(Buffer.alloc(bytes, 1));
  if (url.pathname === '/log') console.log({ hello: 'from the app' });
  if (url.pathname === '/die') {
    console.error('fatal: out of biscuits');
    process.exit(7);
  }
  if (url.pathname === '/error') response.statusCode = 500;
  response.end('ok');
}).listen(Number(process.env.PORT), '127.0.0.1');
