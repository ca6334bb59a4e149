'use strict';
/**
 * Healthy: each request makes a promise that is never settled, an emitter nobody else holds and an
 * AbortController that is never aborted. Unreachable, they are collected.
 */
const { EventEmitter } = require('node:events');
const { serve } = require('../../serve');

let count = 0;

serve(() => {
  const id = ++count;
  const never = new Promise(() => {});
  never.then(() => `never ${id}`);
  const emitter = new EventEmitter();
  emitter.on('data', () => id);
  const controller = new AbortController();
  controller.signal.addEventListener('abort', () => emitter.emit('data'));
  return `request ${id}, ${emitter.listenerCount('data')} listener`;
});
