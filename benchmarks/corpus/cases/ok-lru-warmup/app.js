'use strict';
/** Healthy: an LRU cache of at most 4,000 entries of some 2 KB fills up request by request, then is level. */
const { LRUCache } = require('lru-cache');
const { serve } = require('../../serve');

const cache = new LRUCache({ max: 4000 });
let count = 0;

serve(() => {
  const key = `k${++count}`;
  cache.set(key, { key, rows: Array.from({ length: 20 }, (_, i) => ({ i, name: `row ${i}${key}` })) });
  return String(cache.size);
});
