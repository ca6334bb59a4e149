'use strict';
/**
 * Reads orders of 16 KB of text and notes the reference of one in twenty, the refused ones.
 * Leaky: the noted slice keeps the whole text (V8 slices share their parent). Fixed: the newest hundred, copied.
 */
const { leaky, serve } = require('../../serve');

const LINES = 'item;quantity;price\n'.repeat(800);
const refused = [];
let count = 0;

function receiveOrder() {
  const id = String(++count).padStart(32, '0');
  return Buffer.from(`reference=${id};\n${LINES}`, 'latin1').toString('latin1');
}

function noteRefusal(reference) {
  if (leaky) {
    refused.push(reference);
    return;
  }
  refused.push(Buffer.from(reference, 'latin1').toString('latin1'));
  if (refused.length > 100) refused.shift();
}

serve(() => {
  const order = receiveOrder();
  const reference = order.slice(10, 42);
  if (count % 20 === 0) noteRefusal(reference);
  return `${reference}: ${order.length} characters`;
});
