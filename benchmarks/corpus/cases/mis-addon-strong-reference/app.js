'use strict';
/**
 * Hands every event to a C addon that remembers the last one.
 * Leaky: the addon makes a strong reference to each event and deletes none; V8 sees them as native roots.
 */
const addon = require('./addon.node');
const { leaky, serve } = require('../../serve');

const remember = leaky ? addon.rememberLeaky : addon.remember;
let count = 0;

serve((req) => {
  const event = { id: ++count, url: req.url, fields: [`a${count}`, `b${count}`], at: new Date() };
  remember(event);
  return `event ${event.id}`;
});
