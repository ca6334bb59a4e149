'use strict';
/**
 * Each request starts a job whose progress an interval follows. Leaky: the interval is never cleared, and
 * keeps the job's state with it.
 */
const { leaky, serve } = require('../../serve');

const jobs = new Map();
let count = 0;

serve(() => {
  const job = { id: ++count, progress: 0, log: [] };
  jobs.set(job.id, job);
  const timer = setInterval(() => {
    job.progress = Math.min(100, job.progress + 50);
    if (job.progress < 100) return;
    jobs.delete(job.id);
    if (!leaky) clearInterval(timer);
  }, 100);
  timer.unref();
  return `job ${job.id}`;
});
