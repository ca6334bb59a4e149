'use strict';
/**
 * Exchange rates memoized for half a second by currency pair and second; an old key is never asked for again.
 * Leaky (mem 3.0.1): an entry leaves the cache only when its own key is asked for after its age.
 */
const { leaky, serve } = require('../../serve');
const mem = require(leaky ? 'mem-leaky' : 'mem-fixed');

let quotes = 0;

function quote(pair, tick) {
  return { pair, tick, bid: 1.07 + (tick % 100) / 1e4, ask: 1.08 + (tick % 100) / 1e4 };
}

const cachedQuote = mem(quote, { maxAge: 500 });

serve(() => JSON.stringify(cachedQuote('EURUSD', ++quotes)));
