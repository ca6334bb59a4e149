'use strict';
/**
 * Compiles price formulas with numbers in them by `new Function`, once per text. Leaky: every text is new,
 * and the cache of compiled functions has no bound. Fixed: it holds the newest fifty.
 */
const { leaky, serve } = require('../../serve');

const compiled = new Map();
let count = 0;

function compile(formula) {
  let price = compiled.get(formula);
  if (!price) {
    price = new Function('base', `return ${formula};`);
    compiled.set(formula, price);
    if (!leaky && compiled.size > 50) compiled.delete(compiled.keys().next().value);
  }
  return price;
}

serve(() => {
  const limit = ++count;
  return String(compile(`base > ${limit} ? base : base * ${limit / 1000}`)(100));
});
