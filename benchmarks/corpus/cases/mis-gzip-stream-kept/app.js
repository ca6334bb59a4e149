'use strict';
/**
 * A compressed event feed: one request in fifty subscribes, reads the first event and leaves.
 * Leaky: the subscriber stays in the set, and its gzip stream keeps 260 KB of native compression state.
 */
const { once } = require('node:events');
const zlib = require('node:zlib');
const { leaky, serve } = require('../../serve');

const subscribers = new Set();
let count = 0;

async function subscribeAndLeave() {
  const gzip = zlib.createGzip();
  subscribers.add(gzip);
  gzip.write(`data: {"event":${count}}\n\n`);
  gzip.flush();
  await once(gzip, 'readable');
  const bytes = gzip.read().length;
  if (!leaky) {
    subscribers.delete(gzip);
    gzip.close();
  }
  return bytes;
}

serve(async () => (++count % 50 === 0 ? `first ${await subscribeAndLeave()} bytes` : `feed ${subscribers.size}`));
