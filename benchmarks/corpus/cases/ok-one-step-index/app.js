'use strict';
/** Healthy: at the 3,500th request a search index of some 15 MB is built, once. One step, then level. */
const { serve } = require('../../serve');

const BUILD_AT = 3500;
let index = null;
let count = 0;

function buildIndex() {
  const entry = (_, i) => [`term-${i}`, { documents: [i, i + 1, i + 2], weight: i / 7 }];
  return new Map(Array.from({ length: 60_000 }, entry));
}

serve(() => {
  if (++count === BUILD_AT) index = buildIndex();
  return String(index?.get(`term-${count % 1000}`)?.weight ?? 'scan');
});
