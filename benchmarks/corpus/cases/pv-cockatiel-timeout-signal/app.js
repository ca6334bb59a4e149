'use strict';
/**
 * Downstream calls under a timeout and a retry, all tied to one shutdown signal.
 * Leaky (cockatiel 3.1.3): the timeout policy leaves its abort listener on that signal.
 */
require('node:events').setMaxListeners(0);
const { leaky, serve } = require('../../serve');
const { ExponentialBackoff, TimeoutStrategy, handleAll, retry, timeout, wrap } = require(
  leaky ? 'cockatiel-leaky' : 'cockatiel-fixed',
);

const shutdown = new AbortController();
const policy = wrap(
  retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff() }),
  timeout(2000, TimeoutStrategy.Aggressive),
);

async function stockLevel() {
  await new Promise((resolve) => setImmediate(resolve));
  return JSON.stringify({ stock: 7 });
}

serve(() => policy.execute(stockLevel, shutdown.signal));
