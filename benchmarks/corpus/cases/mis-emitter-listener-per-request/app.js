'use strict';
/**
 * Every request listens for configuration changes while it runs.
 * Leaky: the listener, and with it the request's context, stays on the process-wide emitter.
 */
const { EventEmitter } = require('node:events');
const { leaky, serve } = require('../../serve');

const config = new EventEmitter();
config.setMaxListeners(0);

serve((req) => {
  const context = { url: req.url, agent: req.headers['user-agent'], flags: { a: 1, b: 2 } };
  const onChange = (flags) => { context.flags = flags; };
  config.on('change', onChange);
  const body = JSON.stringify(context.flags);
  if (!leaky) config.off('change', onChange);
  return body;
});
