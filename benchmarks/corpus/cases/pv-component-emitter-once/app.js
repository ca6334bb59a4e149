'use strict';
/**
 * RPC over an event bus: the reply event is named by correlation id and listened to once.
 * Leaky (component-emitter 1.2.1): the empty listener array of each name stays, about 100 B.
 */
const { leaky, serve } = require('../../serve');
const Emitter = require(leaky ? 'component-emitter-leaky' : 'component-emitter-fixed');

const bus = new Emitter();
let count = 0;
bus.on('call', (id, x) => setImmediate(() => bus.emit(`reply:${id}`, x * 2)));

function call(x) {
  const id = ++count;
  return new Promise((resolve) => {
    bus.once(`reply:${id}`, resolve);
    bus.emit('call', id, x);
  });
}

serve(async () => String(await call(21)));
