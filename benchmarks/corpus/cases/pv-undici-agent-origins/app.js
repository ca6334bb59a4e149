'use strict';
/**
 * A sender of webhooks: every tenant has an origin of its own, all resolved to one receiver in this process.
 * Leaky (undici 7.9.0): the Agent keeps a dispatcher for every origin it has ever seen.
 */
const { once } = require('node:events');
const http = require('node:http');
const { leaky, serve } = require('../../serve');
const { Agent, request } = require(leaky ? 'undici-leaky' : 'undici-fixed');

const LOOPBACK = { address: '127.0.0.1', family: 4 };
const receiver = http.createServer((req, res) => {
  req.resume();
  req.on('end', () => res.end('{"received":true}'));
});
receiver.keepAliveTimeout = 1000;
receiver.listen(0, '127.0.0.1');
const receiving = once(receiver, 'listening');

function lookup(host, options, callback) {
  if (options.all) callback(null, [LOOPBACK]);
  else callback(null, LOOPBACK.address, LOOPBACK.family);
}

const agent = new Agent({ keepAliveTimeout: 20, keepAliveMaxTimeout: 20, connect: { lookup } });
let tenants = 0;

serve(async () => {
  await receiving;
  const origin = `http://tenant-${++tenants}.hooks.test:${receiver.address().port}`;
  const { body, statusCode } = await request(`${origin}/hook`, {
    dispatcher: agent,
    method: 'POST',
    body: '{"event":"order.created"}',
    headers: { connection: 'close' },
  });
  await body.text();
  return String(statusCode);
});
