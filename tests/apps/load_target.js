// An app with everything the load engine has to cope with, well-behaved and not.  Prints its port as JSON.
'use strict';
const http = require('http');
const https = require('https');
const fs = require('fs');
const zlib = require('zlib');

const counts = { requests: 0, connections: 0, aborted: 0, bodies: 0, open: 0 };
const seen = new Set();
let flaky = 0;

function json(res, status, value, headers = {}) {
  const body = Buffer.from(JSON.stringify(value));
  res.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, ...headers });
  res.end(body);
}

// Whoever only looks at the counts is not among them; a look has a connection of its own.
function exclude(req) {
  req.socket.excluded = true;
  counts.requests--;
  counts.connections--;
  counts.open--;
}

const routes = {
  '/health': (req, res) => json(res, 200, { ok: true }),
  '/counts': (req, res) => { exclude(req); json(res, 200, { ...counts, distinct: seen.size }); },
  '/reset': (req, res) => {
    for (const key of Object.keys(counts)) if (key !== 'open') counts[key] = 0;
    seen.clear();
    flaky = 0;
    req.socket.excluded = true;
    counts.open--;
    json(res, 200, {});
  },
  '/chunked': (req, res) => { res.write('a'.repeat(1000)); res.end('b'.repeat(1000)); },
  '/trailers': (req, res) => {
    res.writeHead(200, { trailer: 'x-checksum' });
    res.write('body');
    res.addTrailers({ 'x-checksum': 'abc' });
    res.end();
  },
  '/empty': (req, res) => { res.writeHead(204); res.end(); },
  '/unchanged': (req, res) => { res.writeHead(304); res.end(); },
  '/continue': (req, res) => { res.writeContinue(); res.writeProcessing(); json(res, 200, { ok: true }); },
  '/error': (req, res) => json(res, 500, { error: 'broken' }),
  '/missing': (req, res) => json(res, 404, {}),
  '/half-errors': (req, res) => json(res, counts.requests % 2 ? 200 : 503, {}),
  '/slow': (req, res) => setTimeout(() => json(res, 200, {}), Number(new URL(req.url, 'http://x').searchParams.get('ms') || 50)),
  '/never': () => {},
  '/big': (req, res) => { const body = Buffer.alloc(1 << 20, 97); res.writeHead(200, { 'content-length': body.length }); res.end(body); },
  '/gzip': (req, res) => {
    const body = zlib.gzipSync(JSON.stringify({ token: 'zipped' }));
    res.writeHead(200, { 'content-encoding': 'gzip', 'content-length': body.length });
    res.end(body);
  },
  '/close': (req, res) => json(res, 200, {}, { connection: 'close' }),
  '/until-close': (req, res) => { res.useChunkedEncodingByDefault = false; res.shouldKeepAlive = false; res.removeHeader('connection'); res.write('x'); res.end('y'); },
  '/cut-idle': (req, res) => { json(res, 200, {}); res.on('finish', () => setTimeout(() => req.socket.destroy(), 5)); },
  '/cut-body': (req, res) => { res.writeHead(200, { 'content-length': 1000 }); res.write('short'); setTimeout(() => req.socket.destroy(), 5); },
  '/cut-now': (req) => req.socket.destroy(),
  '/flaky': (req, res) => { if (flaky++ % 10 === 3) req.socket.destroy(); else json(res, 200, {}); },
  '/malformed': (req) => req.socket.end('HTTP/1.1 banana\r\n\r\n'),
  '/huge-head': (req) => {
    const socket = req.socket;
    socket.on('error', () => {});
    socket.write('HTTP/1.1 200 OK\r\n');
    const line = `x-pad: ${'p'.repeat(8000)}\r\n`.repeat(16);
    let sent = 0;
    const more = () => { while (sent++ < 80) if (!socket.write(line)) return void socket.once('drain', more); socket.end('\r\n'); };
    more();
  },
  '/extra-bytes': (req) => req.socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokEXTRA'),
  '/redirect': (req, res) => { res.writeHead(302, { location: '/health' }); res.end(); },
  '/loop': (req, res) => { res.writeHead(302, { location: '/loop' }); res.end(); },
  '/elsewhere': (req, res) => { res.writeHead(302, { location: 'http://192.0.2.1/' }); res.end(); },
  '/far-away': (req, res) => { res.writeHead(302, { location: 'http://192.5.6.30/' }); res.end(); },
  '/login': (req, res, body) => json(res, 200, { session: { token: `t-${JSON.parse(body).user}` }, id: 7 }, { 'set-cookie': 'sid=s1; Path=/; HttpOnly' }),
  '/me': (req, res) => json(res, /^Bearer t-/.test(req.headers.authorization || '') && /sid=s1/.test(req.headers.cookie || '') ? 200 : 401, {}),
  '/echo': (req, res, body) => { counts.last = { method: req.method, url: req.url, headers: req.headers, body }; json(res, 200, {}); },
  '/exit': () => process.exit(3),
  '/sse': (req, res) => {
    res.writeHead(200, { 'content-type': 'text/event-stream' });
    let n = 0;
    const timer = setInterval(() => res.write(`id: ${n}\ndata: {"n":${n++}}\n\n`), 5);
    res.on('close', () => clearInterval(timer));
  },
  '/sse-packed': (req, res) => {
    const how = new URL(req.url, 'http://x').searchParams.get('how');
    const pack = { gzip: zlib.createGzip, deflate: zlib.createDeflate, br: zlib.createBrotliCompress }[how]();
    const flush = how === 'br' ? zlib.constants.BROTLI_OPERATION_FLUSH : zlib.constants.Z_SYNC_FLUSH;
    res.writeHead(200, { 'content-type': 'text/event-stream', 'content-encoding': how });
    pack.pipe(res);
    let n = 0;
    const timer = setInterval(() => { pack.write(`data: {"n":${n++}}\n\n`); pack.flush(flush); }, 5);
    res.on('close', () => { clearInterval(timer); pack.destroy(); });
  },
  '/sse-short': (req, res) => { res.writeHead(200, { 'content-type': 'text/event-stream' }); res.end('data: only one\n\n'); },
};

// In bursts of every second, for 100 ms, nothing is answered at all: what a closed loop hides from itself.
const born = Date.now();
routes['/bursts'] = (req, res) => {
  const phase = (Date.now() - born) % 1000;
  setTimeout(() => json(res, 200, {}), phase < 100 ? 100 - phase : 0);
};

function handle(req, res) {
  counts.requests++;
  const path = req.url.split('?')[0];
  req.on('aborted', () => { counts.aborted++; });
  res.on('close', () => { if (!res.writableFinished) counts.cut = (counts.cut || 0) + 1; });
  if (path.startsWith('/odd-fails/')) return setTimeout(() => json(res, Number(path.slice(11)) % 2 ? 503 : 200, {}), 10);
  if (path.startsWith('/item/')) { seen.add(path); return json(res, 200, { id: path.slice(6) }); }
  let body = '';
  req.on('data', (chunk) => { body += chunk; });
  req.on('end', () => {
    if (body) counts.bodies++;
    const route = routes[path] || routes['/missing'];
    route(req, res, body);
  });
}

const tls = process.env.TLS_KEY && { key: fs.readFileSync(process.env.TLS_KEY), cert: fs.readFileSync(process.env.TLS_CERT) };
const server = tls ? https.createServer(tls, handle) : http.createServer(handle);

// A WebSocket server of the barest kind: it greets once a message comes (or at once), and echoes.
const crypto = require('crypto');
const frame = (text) => Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]);
counts.sockets = counts.messages = 0;

server.on('upgrade', (req, socket) => {
  if (!req.url.startsWith('/ws')) return void socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  counts.sockets++;
  const accept = crypto.createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`);
  if (req.url.includes('quiet')) return;
  socket.write(frame('hello'));
  socket.on('data', (data) => {
    while (data.length >= 6) {
      const opcode = data[0] & 15;
      const length = data[1] & 127;
      if (opcode === 8) return void socket.end(Buffer.from([0x88, 0]));
      counts.messages++;
      socket.write(frame('echo'));
      data = data.subarray(6 + length);
    }
  });
});

server.keepAliveTimeout = Number(process.env.KEEP_ALIVE_MS || 5000);
server.on(tls ? 'secureConnection' : 'connection', (socket) => {
  counts.connections++;
  counts.open++;
  socket.on('close', () => { if (!socket.excluded) counts.open--; });
  socket.on('error', () => {});
});
server.listen(Number(process.env.PORT || 0), '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
