'use strict';
/**
 * Healthy: requests queue jobs on Redis (BullMQ) and do not wait; a worker in the same process does them with
 * a little delay. A backlog stands while the load runs and is gone soon after.
 */
const { setTimeout: sleep } = require('node:timers/promises');
const { Queue, Worker } = require('bullmq');
const { serve } = require('../../serve');

const connection = { host: '127.0.0.1', port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const queue = new Queue('thumbnails', { connection });
let done = 0;

async function makeThumbnail({ data }) {
  await sleep(2);
  done++;
  return { file: data.file, width: 120 };
}

new Worker('thumbnails', makeThumbnail, { connection, concurrency: 50 });
let count = 0;

serve(async () => {
  const file = `photo-${++count}.jpg`;
  await queue.add('thumbnail', { file }, { removeOnComplete: true, removeOnFail: true });
  return `${file} queued, ${done} done`;
});
