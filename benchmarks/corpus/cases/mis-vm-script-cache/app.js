'use strict';
/**
 * Evaluates price formulas with numbers in them, compiled once per text. Leaky: every text is new, and the
 * cache of compiled scripts has no bound. Fixed: it holds the newest fifty.
 */
const vm = require('node:vm');
const { leaky, serve } = require('../../serve');

const context = vm.createContext({ base: 100 });
const compiled = new Map();
let count = 0;

function compile(formula) {
  let script = compiled.get(formula);
  if (!script) {
    script = new vm.Script(formula);
    compiled.set(formula, script);
    if (!leaky && compiled.size > 50) compiled.delete(compiled.keys().next().value);
  }
  return script;
}

serve(() => {
  const rate = ++count / 1000;
  return String(compile(`(function price(x) { return x > ${count} ? x : x * ${rate} })(base)`).runInContext(context));
});
