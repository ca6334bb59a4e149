'use strict';
/**
 * Healthy: an undici pool of at most 30 connections to an upstream, opened as bursts of calls need them and
 * then kept: descriptors and buffers rise to a level.
 */
const { once } = require('node:events');
const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');
const { Pool } = require('undici');
const { serve } = require('../../serve');

const upstream = http.createServer(async (req, res) => {
  await sleep(2);
  res.end('{"ok":true}');
});
upstream.keepAliveTimeout = 600_000;
upstream.listen(0, '127.0.0.1');
let pool = null;
let count = 0;

async function call() {
  const { body } = await pool.request({ path: '/', method: 'GET' });
  return body.text();
}

serve(async () => {
  if (!upstream.listening) await once(upstream, 'listening');
  const origin = `http://127.0.0.1:${upstream.address().port}`;
  pool ??= new Pool(origin, { connections: 30, keepAliveTimeout: 600_000 });
  const burst = ++count % 100 === 0 ? Math.min(30, 5 + count / 100) : 1;
  const answers = await Promise.all(Array.from({ length: burst }, call));
  return `${answers.length} answers`;
});
