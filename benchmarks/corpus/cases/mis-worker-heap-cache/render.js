'use strict';
/** The worker: renders a table and caches it by id, without bound in the leaky form. */
const { workerData } = require('node:worker_threads');

// Piscina hands its own data first, the pool's second.
const { leaky } = Array.isArray(workerData) ? workerData[1] : workerData;
const cache = new Map();

module.exports = ({ id, rows }) => {
  if (cache.has(id)) return cache.get(id).length;
  const html = Array.from({ length: rows }, (_, i) => `<tr><td>${id}-${i}</td><td>${Math.random()}</td></tr>`);
  cache.set(id, html);
  if (!leaky && cache.size > 100) cache.delete(cache.keys().next().value);
  return html.length;
};
