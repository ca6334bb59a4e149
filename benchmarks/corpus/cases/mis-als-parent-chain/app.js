'use strict';
/**
 * One consumer loop takes jobs from a queue and runs each in a span (AsyncLocalStorage) linked to its parent.
 * Leaky: the loop goes on from within the span, so each span is the parent of the next, for ever.
 */
const { AsyncLocalStorage } = require('node:async_hooks');
const { leaky, serve } = require('../../serve');

const spans = new AsyncLocalStorage();
const queue = [];
let wake = null;
let count = 0;

async function take() {
  while (queue.length === 0) await new Promise((resolve) => { wake = resolve; });
  return queue.shift();
}

async function consume() {
  const job = await take();
  const parent = spans.getStore();
  const span = { name: 'job', trace: `trace-${job.id}`, started: Date.now(), tags: ['queue', 'job'], parent };
  spans.run(span, () => {
    job.done(spans.getStore().trace);
    if (leaky) setImmediate(consume);
  });
  if (!leaky) setImmediate(consume);
}

consume();
serve(() => new Promise((done) => {
  queue.push({ id: ++count, done });
  wake?.();
}));
