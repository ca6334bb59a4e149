'use strict';
/**
 * One long-lived pipeline (Subject, observeOn, aggregate) that every request feeds with an event.
 * Leaky (rxjs 7.3.0): the subscriber keeps every scheduled action it has run.
 */
const { setTimeout: sleep } = require('node:timers/promises');
const { leaky, serve } = require('../../serve');

const rxjs = leaky ? 'rxjs-leaky' : 'rxjs-fixed';
const { Subject, asyncScheduler } = require(rxjs);
const { map, observeOn } = require(`${rxjs}/operators`);

const orders = new Subject();
let total = 0;
orders.pipe(observeOn(asyncScheduler), map((order) => order.amount)).subscribe((amount) => { total += amount; });

serve(async () => {
  orders.next({ type: 'order', amount: 1 });
  await sleep(2);
  return String(total);
});
