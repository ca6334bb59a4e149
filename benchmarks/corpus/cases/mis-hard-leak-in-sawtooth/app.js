'use strict';
/**
 * Idempotency keys beside a log buffer that is shipped every 5,000 lines: about 100 B per request under a
 * sawtooth of megabytes. Leaky: keys are never pruned. Fixed: the newest 200 are kept.
 */
const { leaky, serve } = require('../../serve');

const LINES_PER_SHIPMENT = 5000;
const idempotencyKeys = new Map();
let lines = [];
let count = 0;
let shippedBytes = 0;

function rememberKey(key) {
  idempotencyKeys.set(key, Date.now());
  if (!leaky && idempotencyKeys.size > 200) idempotencyKeys.delete(idempotencyKeys.keys().next().value);
}

function log(line) {
  lines.push(line);
  if (lines.length < LINES_PER_SHIPMENT) return;
  const full = lines;
  lines = [];
  setImmediate(() => { shippedBytes += JSON.stringify(full).length; });
}

serve((req) => {
  const id = ++count;
  rememberKey(`idem-${id.toString(36)}`);
  log({
    t: Date.now(),
    msg: `GET ${req.url} ${id}`,
    meta: { ua: 'x'.repeat(100) + id, tags: ['a', 'b', String(id)] },
  });
  return String(lines.length);
});
