'use strict';
/**
 * Healthy: changes are collected by record and written in one batch every 700 ms. The map grows with the
 * request rate and shrinks to nothing at each flush, so it is empty soon after the load ends.
 */
const { serve } = require('../../serve');

const FLUSH_MS = 700;
let changes = new Map();
let written = 0;
let count = 0;

setInterval(() => {
  const batch = changes;
  changes = new Map();
  written += JSON.stringify([...batch.values()]).length;
}, FLUSH_MS).unref();

serve(() => {
  const id = ++count;
  changes.set(`record-${id}`, { id, status: 'seen', note: `note ${id} `.repeat(8), at: new Date() });
  return `${changes.size} waiting, ${written} written`;
});
