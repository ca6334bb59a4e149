'use strict';
/**
 * The plain HTTP front shared by the corpus apps that need no framework.
 *
 * It is not part of what is measured: it holds nothing between requests. An app gives `serve` one
 * asynchronous function from request to response text; `GET /health` answers `ok` without calling it.
 * PORT says where to listen (loopback only); a line `ready` on stdout says that the app does.
 */
const http = require('node:http');

/** True when the app is started in its leaking form (VARIANT=leaky). */
const leaky = process.env.VARIANT === 'leaky';

async function answer(work, req, res) {
  if (req.url === '/health') {
    res.end('ok');
    return;
  }
  try {
    const text = await work(req, res);
    if (!res.writableEnded) res.end(String(text ?? 'ok'));
  } catch (error) {
    res.statusCode = 500;
    res.end(String(error?.stack ?? error));
  }
}

/** Say that the app listens: the one line a starter waits for. */
function announce() {
  console.log('ready');
}

/** Serve `work(req, res)`; what it resolves to is the response body. Returns the http.Server. */
function serve(work) {
  const server = http.createServer((req, res) => answer(work, req, res));
  return server.listen(Number(process.env.PORT), '127.0.0.1', announce);
}

module.exports = { announce, leaky, serve };
