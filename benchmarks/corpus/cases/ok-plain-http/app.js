'use strict';
/** Healthy: `http.createServer` and a small JSON answer; nothing is kept. */
const { serve } = require('../../serve');

serve((req) => JSON.stringify({ hello: 'world', url: req.url }));
