'use strict';
/**
 * Sessions that release their slot when they are collected (FinalizationRegistry).
 * Leaky: the held value is a closure over the session, so no session is ever collected. Fixed: over its slot only.
 */
const { leaky, serve } = require('../../serve');

const slots = new Set();
const registry = new FinalizationRegistry((release) => release());
let count = 0;

class Session {
  constructor(slot) {
    this.slot = slot;
    this.basket = [`item-${slot}`, `item-${slot + 1}`];
    slots.add(slot);
    registry.register(this, leaky ? () => slots.delete(this.slot) : releaser(slot));
  }
}

function releaser(slot) {
  return () => slots.delete(slot);
}

serve(() => JSON.stringify(new Session(++count).basket));
