'use strict';
/**
 * Matches a file list against the visitor's search pattern; patterns are as many as visitors.
 * Leaky (micromatch 3.1.10): one compiled matcher is kept per distinct pattern.
 */
const { leaky, serve } = require('../../serve');
const micromatch = require(leaky ? 'micromatch-leaky' : 'micromatch-fixed');

const FILES = Array.from({ length: 20 }, (_, i) => `reports/2024/q${i % 4}/summary-${i}.pdf`);
let searches = 0;

serve(() => String(micromatch(FILES, `reports/**/*${(++searches).toString(36)}*.pdf`).length));
