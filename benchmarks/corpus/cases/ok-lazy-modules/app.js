'use strict';
/**
 * Healthy: every request requires one more lodash module (some 600) and compiles a small function of 300
 * kinds; growth of code ends when all are loaded.
 */
const fs = require('node:fs');
const path = require('node:path');
const { serve } = require('../../serve');

const root = path.dirname(require.resolve('lodash/package.json'));
const modules = fs.readdirSync(root).filter((f) => /^[a-z]\w+\.js$/.test(f) && !/core|lodash\.js|fp\.js/.test(f));
let count = 0;

serve(() => {
  const loaded = require(path.join(root, modules[count++ % modules.length]));
  const times = new Function('x', `return x * ${count % 300}`);
  return typeof loaded + times(2);
});
