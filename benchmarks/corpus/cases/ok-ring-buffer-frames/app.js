'use strict';
/** Healthy: the newest 512 camera frames of 16–48 KB are kept in a ring, some 16 MB of ArrayBuffers when full. */
const { serve } = require('../../serve');

const FRAMES = 512;
const ring = new Array(FRAMES).fill(null);
let count = 0;

serve(() => {
  const id = ++count;
  ring[id % FRAMES] = new Uint8Array(16 * 1024 + (id * 7919) % (32 * 1024)).fill(id);
  return `frame ${id}, ${ring[id % FRAMES].byteLength} bytes`;
});
