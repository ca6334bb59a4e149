'use strict';
/**
 * Every look-up races against shutdown. Leaky: each Promise.race leaves its reactions, and with them the
 * result it resolved to, on the one long-lived promise. Fixed: the request takes its stop callback back.
 */
const { setImmediate: turn } = require('node:timers/promises');
const { leaky, serve } = require('../../serve');

const stops = new Set();
const shutdown = new Promise((resolve) => process.once('beforeExit', resolve));
process.once('beforeExit', () => stops.forEach((stop) => stop()));
let count = 0;

async function lookUp() {
  const id = ++count;
  await turn();
  return { id, name: `customer ${id}`, orders: [id, id + 1, id + 2] };
}

async function untilShutdown(work) {
  if (leaky) return Promise.race([work, shutdown]);
  let stop;
  const stopped = new Promise((resolve) => { stop = resolve; });
  stops.add(stop);
  try {
    return await Promise.race([work, stopped]);
  } finally {
    stops.delete(stop);
  }
}

serve(async () => JSON.stringify(await untilShutdown(lookUp())));
