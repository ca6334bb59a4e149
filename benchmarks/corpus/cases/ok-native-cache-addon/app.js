'use strict';
/**
 * Healthy: tiles are cached in native memory by a C addon: 1,500 slots of 16 KB, filled at random. RSS grows by
 * up to 16 KB per request at first and is level at 24 MB; V8 knows nothing of it.
 */
const addon = require('./addon.node');
const { serve } = require('../../serve');

let count = 0;

serve(() => {
  const slot = Math.floor(Math.random() * addon.slots);
  return `tile ${++count}: ${addon.touch(slot)}`;
});
