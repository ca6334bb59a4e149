#!/usr/bin/env node
/**
 * The independent verifier of the corpus: measures what each variant of each case keeps per request and writes
 * the ground truth into manifest.json.
 *
 *     node verify.mjs [--only leaky|fixed] [case ...]   measure (default: all cases) and update the manifest;
 *                                                       with --only, print one variant and write nothing
 *     node verify.mjs --refresh                         judge again, take over changed descriptions
 *     node verify.mjs --check                           say what is not measured, not valid or not up to date
 *
 * A run is: a warm-up, four segments of load, and a reading of the meter (meter.cjs) after forced collections
 * around each. Growth per request is the difference of two readings by the requests between them. A case is valid
 * when its leaky variant separates from its fixed one in every segment, and when what must be level is level.
 * Exit status 1 when a case is not valid or could not be measured. It shares no code with pytest-memory.
 */
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { findFaults, readManifest, updateManifest } from './manifest.mjs';
import { App, caseNames, readCase } from './rig.mjs';

const SEGMENTS = 4;
const WARMUP_CYCLES = 5;

/** The reading a kind of memory shows in; a case may name another (`verify.metric`). */
const METRIC_OF_KIND = {
  heap: 'heapUsed',
  external: 'external',
  arrayBuffers: 'arrayBuffers',
  'worker-heap': 'workerHeapUsed',
  'rss-native': 'rss',
  handles: 'fds',
};
/** What the meter itself may see per request of a healthy app. */
const NOISE = {
  heapUsed: 16,
  external: 16,
  arrayBuffers: 16,
  workerHeapUsed: 16,
  rss: 600,
  fds: 0.002,
  handles: 0.002,
};
const READINGS = ['heapUsed', 'external', 'arrayBuffers', 'rss', 'workerHeapUsed', 'workers', 'handles', 'fds'];
const COUNTS = new Set(['workers', 'handles', 'fds']);

const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return mean(sorted.slice((sorted.length - 1) >> 1, (sorted.length >> 1) + 1));
};
const round = (number, digits) => Number(number.toFixed(digits));

/** Load for the meter: the declared load after a warm-up of three rounds, unless the case's `verify` block differs. */
function meterLoad(record) {
  const warmup = Math.max(record.load.warmup, 3 * record.load.requests);
  const { metric, ...load } = { settle_ms: 300, ...record.load, warmup, ...record.verify };
  return load;
}

function metricOf(record) {
  return record.verify?.metric ?? METRIC_OF_KIND[record.memory_kind];
}

/** Load, let the app settle, read the meter. */
async function cycle(app, load, requests) {
  const start = performance.now();
  await app.load(requests);
  const load_s = (performance.now() - start) / 1000;
  await sleep(load.settle_ms);
  return { reading: await app.measure(), load_s };
}

async function measureVariant(record, variant) {
  const load = meterLoad(record);
  const app = await App.start(record, variant);
  try {
    // The warm-up has the form of the measurement: the first few cycles of connecting, loading, closing and
    // reading cost some 35 KB each, whatever the number of requests.
    for (let i = 0; i < WARMUP_CYCLES; i++) await cycle(app, load, Math.ceil(load.warmup / WARMUP_CYCLES));
    const readings = [await app.measure()];
    const seconds = [];
    for (let i = 0; i < SEGMENTS; i++) {
      const { reading, load_s } = await cycle(app, load, load.requests);
      seconds.push(load_s);
      readings.push(reading);
    }
    return summarize(load, readings, seconds, app);
  } finally {
    await app.stop();
  }
}

/** Per reading, the growth per request of each segment. */
function summarize(load, readings, seconds, app) {
  const perRequest = {};
  for (const name of READINGS) {
    const growth = readings.slice(1).map((reading, i) => (reading[name] - readings[i][name]) / load.requests);
    const rounded = growth.map((g) => round(g, COUNTS.has(name) ? 4 : 1));
    if (rounded.some((g) => g !== 0)) perRequest[name] = rounded;
  }
  const last = readings.at(-1);
  return {
    per_request: perRequest,
    requests_per_s: Math.round(load.requests / mean(seconds)),
    base_heap_mb: round(readings[0].heapUsed / 1e6, 1),
    base_rss_mb: round(readings[0].rss / 1e6, 1),
    active_resources: last.kinds,
    errors: app.errors,
    ...(app.lastError && { last_error: app.lastError }),
  };
}

/** Whether the measurement bears out the case's claim, and a sentence about it. */
function judge(record, measured) {
  const metric = metricOf(record);
  const { leaky, fixed } = Object.fromEntries(
    Object.entries(measured).map(([variant, m]) => [variant, m.per_request[metric] ?? new Array(SEGMENTS).fill(0)]),
  );
  const noise = NOISE[metric];
  const level = median(fixed); // one table that doubles is a step, not a slope
  const digits = COUNTS.has(metric) ? 3 : 1;
  const faults = [];
  const errors = Object.values(measured).reduce((sum, m) => sum + m.errors, 0);
  if (errors > 0) faults.push(`${errors} failed requests`);
  if (leaky && Math.min(...leaky) <= Math.max(noise / 2, 2 * Math.abs(level))) faults.push('does not separate');
  if (level > (leaky ? Math.max(noise, mean(leaky) / 8) : 2 * noise)) faults.push('what must be level is not');
  const said = Object.entries({ leaky, fixed })
    .filter(([, series]) => series)
    .map(([variant, series]) => `${variant} ${round(mean(series), digits)}`);
  return { valid: faults.length === 0, note: [`${metric} per request: ${said.join(', ')}`, ...faults].join('; ') };
}

/** Measure both variants of a case; its manifest entry. */
async function measureCase(record) {
  const measured = {};
  for (const variant of Object.keys(record.expected_verdict)) measured[variant] = await measureVariant(record, variant);
  const load = meterLoad(record);
  const circumstances = { node: process.version, metric: metricOf(record), load, segments: SEGMENTS };
  return { ...record, ground_truth: { ...judge(record, measured), ...circumstances, measured } };
}

/** Measure the cases one after the other; the number of those that are not valid. */
async function measureCases(names) {
  let bad = 0;
  for (const name of names) {
    try {
      const entry = await measureCase(readCase(name));
      const { valid, note } = entry.ground_truth;
      updateManifest([entry]);
      console.log(`${valid ? 'ok     ' : 'INVALID'} ${name}: ${note}`);
      if (!valid) bad++;
    } catch (error) {
      console.log(`FAILED  ${name}: ${error.message}`);
      bad++;
    }
  }
  return bad;
}

/** Judge the stored measurements again, and take over descriptions that have changed. */
function refresh() {
  const rejudged = (entry) => ({ ...entry.ground_truth, ...judge(entry, entry.ground_truth.measured) });
  updateManifest([...readManifest().values()].map((entry) => ({ ...entry, ground_truth: rejudged(entry) })));
}

function check() {
  const faults = findFaults();
  for (const fault of faults) console.log(fault);
  console.log(`${caseNames().length} cases, ${faults.length} faults`);
  return faults.length;
}

const { values: options, positionals } = parseArgs({
  options: { check: { type: 'boolean' }, refresh: { type: 'boolean' }, only: { type: 'string' } },
  allowPositionals: true,
});
const names = positionals.length ? positionals : caseNames();
let bad = 0;
if (options.refresh) refresh();
if (options.check || options.refresh) bad = check();
else if (options.only) for (const name of names) console.log(name, await measureVariant(readCase(name), options.only));
else bad = await measureCases(names);
process.exitCode = bad ? 1 : 0;
