'use strict';
/**
 * Reads a profile from an upstream that answers one call in twenty with a 503 and a long error page.
 * Leaky: the error is thrown without reading the body, so its connection is never free again.
 */
const http = require('node:http');
const { Agent, request } = require('undici');
const { leaky, serve } = require('../../serve');

const ERROR_PAGE = 'service unavailable '.repeat(20_000);
let calls = 0;
const upstream = http.createServer((req, res) => {
  if (++calls % 20 === 0) res.writeHead(503).end(ERROR_PAGE);
  else res.end('{"name":"Ada","plan":"basic"}');
});
upstream.listen(0, '127.0.0.1');
const agent = new Agent({ bodyTimeout: 0, keepAliveTimeout: 600_000 });

async function readProfile() {
  const url = `http://127.0.0.1:${upstream.address().port}/profile`;
  const { body, statusCode } = await request(url, { dispatcher: agent });
  if (statusCode >= 500) {
    if (!leaky) await body.dump({ limit: 1e6 });
    throw new Error(`upstream says ${statusCode}`);
  }
  return body.text();
}

serve(() => readProfile().catch(() => '{"name":"unknown"}'));
