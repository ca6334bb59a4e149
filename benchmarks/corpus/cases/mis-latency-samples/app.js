'use strict';
/**
 * Keeps latency samples for percentiles. Leaky: all of them, some 110 B each. Fixed: a ring of 500.
 */
const { leaky, serve } = require('../../serve');

const RING = 500;
const samples = [];
let count = 0;

function record(sample) {
  if (leaky) samples.push(sample);
  else samples[count % RING] = sample;
  count++;
}

serve(() => {
  const started = performance.now();
  const body = JSON.stringify({ page: count % 20, items: ['a', 'b', 'c'] });
  record({ at: started, ms: performance.now() - started, status: 200, page: count % 20, bytes: body.length });
  return body;
});
