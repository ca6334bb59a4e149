'use strict';
/**
 * An API that queues a mail job on Redis, with a BullMQ worker in the same process, and waits for its result.
 * Leaky: the `completed` listener of each request stays on the shared QueueEvents.
 */
const { QueueEvents, Queue, Worker } = require('bullmq');
const { leaky, serve } = require('../../serve');

const connection = { host: '127.0.0.1', port: Number(process.env.REDIS_PORT), maxRetriesPerRequest: null };
const queue = new Queue('mail', { connection });
const events = new QueueEvents('mail', { connection });
events.setMaxListeners(0);
new Worker('mail', async (job) => ({ sent: job.data.to, report: 'x'.repeat(200) }), { connection, concurrency: 4 });

async function sendMail() {
  await events.waitUntilReady();
  const early = new Map(); // results that arrive before our own job id is known
  let jobId;
  let resolve;
  const result = new Promise((r) => { resolve = r; });

  const onCompleted = ({ jobId: id, returnvalue }) => {
    if (id === jobId) resolve(returnvalue);
    else if (!jobId) early.set(id, returnvalue);
  };
  events.on('completed', onCompleted);

  const mail = { to: 'a@example.com', html: 'hello '.repeat(50) };
  const job = await queue.add('send', mail, { removeOnComplete: true, removeOnFail: true });
  jobId = job.id;
  if (early.has(jobId)) resolve(early.get(jobId));

  const value = await result;
  if (!leaky) events.off('completed', onCompleted);
  return `sent ${value?.sent}`;
}

serve(sendMail);
