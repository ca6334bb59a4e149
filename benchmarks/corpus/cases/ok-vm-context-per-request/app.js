'use strict';
/**
 * Healthy: every request runs a small plug-in in a vm context of its own, which is dropped. A context is
 * some hundred KB with thousands of objects; it takes the collector several passes to be rid of it.
 */
const vm = require('node:vm');
const { serve } = require('../../serve');

const plugin = new vm.Script('result = input.map((x) => x * 2).join(",")');
let count = 0;

serve(() => {
  const sandbox = vm.createContext({ input: [++count, count + 1, count + 2], result: null });
  plugin.runInContext(sandbox);
  return sandbox.result;
});
