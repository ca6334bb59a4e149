'use strict';
/**
 * Hashes a document in a C addon. Leaky: the entry point that does not free its 8 KB scratch buffer.
 * V8 knows nothing of that memory; only the process's RSS grows.
 */
const addon = require('./addon.node');
const { leaky, serve } = require('../../serve');

const DOCUMENT = 'some document body '.repeat(20);

serve(() => String(leaky ? addon.hashLeaky(DOCUMENT) : addon.hash(DOCUMENT)));
