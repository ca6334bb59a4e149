'use strict';
/**
 * A namespaced logger per request, as many codebases have it: debug(`app:req:${id}`).
 * Leaky (debug 4.2.0): `createDebug.instances` keeps every logger ever made.
 */
const { leaky, serve } = require('../../serve');
const createDebug = require(leaky ? 'debug-leaky' : 'debug-fixed');

let count = 0;

serve((req) => {
  const log = createDebug(`shop:req:${(++count).toString(36)}`);
  log('start %s', req.url);
  const items = Array.from({ length: 20 }, (_, i) => ({ sku: `sku-${i}`, price: i * 3 }));
  log('items %O', items);
  return JSON.stringify(items);
});
