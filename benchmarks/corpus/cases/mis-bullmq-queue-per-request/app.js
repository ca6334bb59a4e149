'use strict';
/**
 * One request in ten schedules a reminder. Leaky: with a BullMQ Queue made for the occasion and not closed,
 * each a Redis connection. Fixed: one Queue for the process.
 */
const { Queue } = require('bullmq');
const { leaky, serve } = require('../../serve');

const connection = { host: '127.0.0.1', port: Number(process.env.REDIS_PORT) };
const shared = new Queue('reminders', { connection });
let count = 0;

async function schedule(id) {
  const queue = leaky ? new Queue('reminders', { connection }) : shared;
  const job = await queue.add('remind', { customer: id }, { delay: 3_600_000 });
  return job.id;
}

serve(async () => {
  const id = ++count;
  return id % 10 === 0 ? `reminder ${await schedule(id)}` : 'no reminder';
});
