'use strict';
/**
 * Healthy: buffers of 1–200 KB pass through a window of 200 slots. RSS and external memory wander by tens of
 * megabytes because sizes and lifetimes differ; nothing is lost.
 */
const { serve } = require('../../serve');

const SLOTS = 200;
const window = new Array(SLOTS).fill(null);
let count = 0;

serve(() => {
  const buffer = Buffer.allocUnsafeSlow(1024 + Math.floor(Math.random() * 200 * 1024));
  buffer.fill(1);
  window[Math.floor(Math.random() * SLOTS)] = buffer;
  return String(++count);
});
