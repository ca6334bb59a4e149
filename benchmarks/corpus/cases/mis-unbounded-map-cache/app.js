'use strict';
/**
 * Search results cached by query; every query is new. Leaky: a plain Map. Fixed: lru-cache with `max`.
 */
const { LRUCache } = require('lru-cache');
const { leaky, serve } = require('../../serve');

const cache = leaky ? new Map() : new LRUCache({ max: 300 });
let count = 0;

function search(page) {
  return { hits: Array.from({ length: 5 }, (_, i) => ({ id: page * 10 + i, title: `Result ${i}` })), total: 5 };
}

serve(() => {
  const page = ++count;
  const key = `/search?q=term${page}&page=1`;
  if (!cache.has(key)) cache.set(key, search(page));
  return JSON.stringify(cache.get(key));
});
