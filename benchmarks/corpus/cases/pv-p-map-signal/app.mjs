/**
 * A basket priced by concurrent look-ups (an ESM app), all under one shutdown signal.
 * Leaky (p-map 7.0.2): each call leaves its abort listener on that signal.
 */
import { setMaxListeners } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import corpus from '../../serve.js';

const { leaky, serve } = corpus;
const { default: pMap } = await import(leaky ? 'p-map-leaky' : 'p-map-fixed');

const shutdown = new AbortController();
setMaxListeners(0, shutdown.signal);
const basket = ['apples', 'bread', 'cheese', 'dates'];

async function price(item) {
  await setImmediate();
  return item.length * 100;
}

serve(async () => JSON.stringify(await pMap(basket, price, { concurrency: 2, signal: shutdown.signal })));
