'use strict';
/**
 * Healthy: a report of some 3 MB is kept for 750 requests and then dropped for 750: the heap has two levels,
 * and which of them a measurement meets depends on the number of requests between measurements.
 */
const { serve } = require('../../serve');

const PHASE = 750;
let report = null;
let count = 0;

function buildReport() {
  return Array.from({ length: 25_000 }, (_, i) => ({ row: i, label: `row ${i}`, total: i * 1.5 }));
}

serve(() => {
  const phase = Math.floor(++count / PHASE) % 2;
  if (phase === 0) report = null;
  else report ??= buildReport();
  return report ? `${report.length} rows` : 'no report';
});
