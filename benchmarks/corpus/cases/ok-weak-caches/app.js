'use strict';
/**
 * Healthy: parsed documents are cached by WeakRef with a FinalizationRegistry that removes dead entries, and
 * view models by WeakMap. Entries live until some later collection; memory is a sawtooth of the collector's making.
 */
const { serve } = require('../../serve');

const documents = new Map();
const registry = new FinalizationRegistry((key) => {
  if (documents.get(key)?.deref() === undefined) documents.delete(key);
});
const views = new WeakMap();
let count = 0;

function parse(key) {
  const cached = documents.get(key)?.deref();
  if (cached) return cached;
  const document = { key, sections: Array.from({ length: 10 }, (_, i) => ({ i, title: `${key} section ${i}` })) };
  documents.set(key, new WeakRef(document));
  registry.register(document, key);
  return document;
}

serve(() => {
  const document = parse(`document-${Math.floor(++count / 2)}`);
  if (!views.has(document)) views.set(document, { titles: document.sections.map(({ title }) => title) });
  return views.get(document).titles[0];
});
