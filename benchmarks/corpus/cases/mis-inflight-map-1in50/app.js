'use strict';
/**
 * De-duplicates concurrent look-ups with a map of those in flight; one in fifty fails upstream.
 * Leaky: the error path forgets to delete the entry (some 700 B), under 30 KB of garbage per request.
 */
const { leaky, serve } = require('../../serve');

const inFlight = new Map();
let count = 0;

async function lookUp(id) {
  const rows = Array.from({ length: 300 }, (_, i) => ({ i, s: `row-${i}-${id}` }));
  await null;
  if (id % 50 === 0) throw new Error('upstream 503');
  return rows.length;
}

serve(async () => {
  const id = ++count;
  inFlight.set(id, {
    id,
    params: { q: `term ${id}`, page: 1, filters: ['a', 'b'] },
    trace: new Array(40).fill(`span-${id}`),
  });
  try {
    const rows = await lookUp(id);
    inFlight.delete(id);
    return String(rows);
  } catch {
    if (!leaky) inFlight.delete(id);
    return 'degraded';
  }
});
