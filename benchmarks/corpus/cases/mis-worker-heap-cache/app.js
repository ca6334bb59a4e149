'use strict';
/**
 * Renders in a worker thread (piscina). Leaky: the worker's own cache has no bound; the main thread's heap
 * stays flat.
 */
const path = require('node:path');
const { Piscina } = require('piscina');
const { leaky, serve } = require('../../serve');

const pool = new Piscina({
  filename: path.join(__dirname, 'render.js'),
  minThreads: 1,
  maxThreads: 1,
  workerData: { leaky },
  resourceLimits: { maxOldGenerationSizeMb: 1024, maxYoungGenerationSizeMb: 2 },
});
let count = 0;

serve(async () => String(await pool.run({ id: ++count, rows: 40 })));
