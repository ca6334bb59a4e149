'use strict';
/**
 * An LRU cache of 2,000 articles; every request asks for a new one. Leaky: each eviction is logged in an
 * array nobody reads, so the leak begins when the cache is full. Fixed: evictions are counted.
 */
const { LRUCache } = require('lru-cache');
const { leaky, serve } = require('../../serve');

const evictions = [];
let evicted = 0;
let count = 0;

function onEvict(article, key) {
  evicted++;
  if (leaky) evictions.push({ key, at: new Date(), size: article.text.length });
}

const cache = new LRUCache({ max: 2000, dispose: onEvict });

serve(() => {
  const key = `article:${++count}`;
  cache.set(key, { key, text: `text of ${key} `.repeat(20), tags: ['news', `tag-${count % 50}`] });
  return `${cache.size} cached, ${evicted} evicted`;
});
