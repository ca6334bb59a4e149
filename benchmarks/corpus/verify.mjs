#!/usr/bin/env node
/**
 * The independent verifier of the corpus: measures what each variant of each case keeps per request and writes
 * the ground truth into manifest.json.
 *
 *     node verify.mjs [--only leaky|fixed] [case ...]     measure (default: all cases) and update the manifest
 *     node verify.mjs --check                             only check that the manifest matches the case.json files
 *
 * A run is: warm-up, four segments of load, a reading of the meter (meter.cjs) after forced collections
 * around each. Bytes per request are the difference of two readings by the requests between them. A case is valid
 * when its leaky variant separates from its fixed one in every segment, and when what must be level is level.
 * Exit status 1 when a case is not valid or could not be measured. It shares no code with pytest-memory.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { App, CORPUS, caseNames, readCase } from './rig.mjs';

const MANIFEST = path.join(CORPUS, 'manifest.json');
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
const NOISE = { heapUsed: 16, external: 16, arrayBuffers: 16, workerHeapUsed: 16, rss: 600, fds: 0.002, handles: 0.002, workers: 0.001 };
const READINGS = ['heapUsed', 'external', 'arrayBuffers', 'rss', 'workerHeapUsed', 'workers', 'handles', 'fds'];
const COUNTS = new Set(['workers', 'handles', 'fds']);

const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
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

/** Whether the measurement bears out the case's claim, in a sentence. */
function judge(record, measured) {
  const metric = metricOf(record);
  const noise = NOISE[metric];
  const zeros = new Array(SEGMENTS).fill(0);
  const growth = Object.fromEntries(Object.entries(measured).map(([v, m]) => [v, m.per_request[metric] ?? zeros]));
  const errors = Object.values(measured).reduce((sum, m) => sum + m.errors, 0);
  const level = mean(growth.fixed.slice(1)); // the first segment may still hold the end of a warm-up
  const said = Object.entries(growth).map(([v, g]) => `${v} ${round(mean(g), COUNTS.has(metric) ? 3 : 1)}`).join(', ');
  const faults = [];
  if (errors > 0) faults.push(`${errors} failed requests`);
  if (growth.leaky && Math.min(...growth.leaky) <= Math.max(noise, 2 * Math.abs(level))) faults.push('does not separate');
  if (level > (growth.leaky ? Math.max(noise, mean(growth.leaky) / 8) : 2 * noise)) faults.push('fixed form is not level');
  return { valid: faults.length === 0, note: [`${metric} per request: ${said}`, ...faults].join('; ') };
}

function readManifest() {
  return fs.existsSync(MANIFEST) ? JSON.parse(fs.readFileSync(MANIFEST, 'utf8')) : { cases: [] };
}

/** Replace the records of the measured cases; keep the others; drop none silently. */
function writeManifest(entries) {
  const byName = new Map(readManifest().cases.map((entry) => [entry.name, entry]));
  for (const entry of entries) byName.set(entry.name, entry);
  const names = new Set(caseNames());
  const cases = [...byName.values()].filter(({ name }) => names.has(name)).sort((a, b) => (a.name < b.name ? -1 : 1));
  const about = 'Written by verify.mjs from the case.json files and its own measurements; not edited by hand.';
  const document = JSON.stringify({ about, cases }, null, 1).replace(/\[[\s\d.,-]+\]/g, (list) => list.replace(/\s+/g, ' '));
  fs.writeFileSync(`${MANIFEST}.partial`, `${document}\n`);
  fs.renameSync(`${MANIFEST}.partial`, MANIFEST);
}

function checkManifest() {
  const byName = new Map(readManifest().cases.map((entry) => [entry.name, entry]));
  const faults = [];
  for (const name of caseNames()) {
    const entry = byName.get(name);
    const record = readCase(name);
    if (!entry) faults.push(`${name}: not measured`);
    else if (!entry.ground_truth.valid) faults.push(`${name}: ${entry.ground_truth.note}`);
    else if (Object.keys(record).some((key) => JSON.stringify(record[key]) !== JSON.stringify(entry[key]))) faults.push(`${name}: case.json has changed since it was measured`);
    byName.delete(name);
  }
  for (const name of byName.keys()) faults.push(`${name}: in the manifest only`);
  for (const fault of faults) console.log(fault);
  console.log(`${caseNames().length} cases, ${faults.length} faults`);
  return faults.length === 0;
}

async function measureCase(name, only) {
  const record = readCase(name);
  const measured = {};
  for (const variant of Object.keys(record.expected_verdict)) {
    if (!only || only === variant) measured[variant] = await measureVariant(record, variant);
  }
  if (only) {
    console.log(name, JSON.stringify(measured[only], null, 1));
    return null;
  }
  const verdict = judge(record, measured);
  console.log(`${verdict.valid ? 'ok     ' : 'INVALID'} ${name}: ${verdict.note}`);
  const truth = { ...verdict, node: process.version, metric: metricOf(record), load: meterLoad(record), segments: SEGMENTS, measured };
  return { ...record, ground_truth: truth };
}

const { values: options, positionals } = parseArgs({
  options: { check: { type: 'boolean' }, only: { type: 'string' } },
  allowPositionals: true,
});
if (options.check) {
  process.exit(checkManifest() ? 0 : 1);
}
let bad = 0;
for (const name of positionals.length ? positionals : caseNames()) {
  try {
    const entry = await measureCase(name, options.only);
    if (entry) writeManifest([entry]);
    if (entry && !entry.ground_truth.valid) bad++;
  } catch (error) {
    bad++;
    console.log(`FAILED  ${name}: ${error.message}`);
  }
}
process.exitCode = bad ? 1 : 0;
