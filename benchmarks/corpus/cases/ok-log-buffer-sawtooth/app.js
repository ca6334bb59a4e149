'use strict';
/**
 * Healthy: log lines are buffered and shipped every 5,000 lines, a sawtooth of 2–3 MB. A measurement may
 * land anywhere on the ramp.
 */
const { serve } = require('../../serve');

const LINES_PER_SHIPMENT = 5000;
let lines = [];
let count = 0;
let shippedBytes = 0;

serve((req) => {
  const id = ++count;
  lines.push({
    t: Date.now(),
    msg: `GET ${req.url} ${id}`,
    meta: { ua: 'x'.repeat(100) + id, tags: ['a', 'b', String(id)] },
  });
  if (lines.length >= LINES_PER_SHIPMENT) {
    const full = lines;
    lines = [];
    setImmediate(() => { shippedBytes += JSON.stringify(full).length; });
  }
  return String(lines.length);
});
