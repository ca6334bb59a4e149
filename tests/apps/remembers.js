// Answers everything with {"result": {"data": []}}, as a tRPC server would, and keeps 100 bytes of every request.
// /health is 503 for the first 300 ms.  What it was asked ("METHOD URL X-Tenant BODY", once each) and how it was
// started stands in seen.json of its working directory, written when something new comes.
'use strict';
const fs = require('fs');
const began = Date.now();
const seen = new Set();
const kept = [];
function remember(what, port) {
  if (seen.has(what) || seen.size >= 100) return;
  seen.add(what);
  const { execPath: node } = process;
  fs.writeFileSync('seen.json', JSON.stringify({ seen: [...seen], cwd: process.cwd(), node, port }));
}
require('http').createServer((req, res) => {
  let body = '';
  req.on('data', (chunk) => { body += chunk; });
  req.on('end', () => {
    remember(`${req.method} ${req.url} ${req.headers['x-tenant'] || '-'} ${body}`, req.socket.localPort);
    res.setHeader('content-type', 'application/json');
    if (req.url === '/health') res.statusCode = Date.now() - began < 300 ? 503 : 200;
    else kept.push(Buffer.alloc(100, 120).toString('latin1'));
    res.end('{"result": {"data": []}}');
  });
}).listen(Number(process.env.PORT || 3000));
