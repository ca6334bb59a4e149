/**
 * manifest.json: what the case.json files claim, with every default written out, joined with what the verifier
 * measured. Only this module reads and writes it; nothing here measures.
 */
import fs from 'node:fs';
import path from 'node:path';
import { CORPUS, caseNames, readCase } from './rig.mjs';

const MANIFEST = path.join(CORPUS, 'manifest.json');
const ABOUT = 'Written by verify.mjs from the case.json files and its own measurements; not edited by hand.';

/** The fields a measurement depends on; the others only describe. */
const MEASURED_FIELDS = [
  'addon', 'body', 'endpoint', 'entry', 'headers', 'load', 'memory_kind', 'method', 'needs_redis', 'verify', 'versions',
];

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

function stillMeasures(entry, record) {
  return MEASURED_FIELDS.every((field) => same(entry[field], record[field]));
}

/** Entries by name; empty when there is no manifest yet. */
export function readManifest() {
  const { cases } = fs.existsSync(MANIFEST) ? JSON.parse(fs.readFileSync(MANIFEST, 'utf8')) : { cases: [] };
  return new Map(cases.map((entry) => [entry.name, entry]));
}

/**
 * Add or replace entries, and bring the descriptions of all others up to date. An entry whose case has changed
 * in what is measured stays as it is, for `findFaults` to report; one whose case is gone goes.
 */
export function updateManifest(entries) {
  const old = readManifest();
  for (const entry of entries) old.set(entry.name, entry);
  const cases = caseNames().filter((name) => old.has(name)).map((name) => {
    const entry = old.get(name);
    const record = readCase(name);
    return stillMeasures(entry, record) ? { ...record, ground_truth: entry.ground_truth } : entry;
  });
  const text = JSON.stringify({ about: ABOUT, cases }, null, 1);
  const oneLineSeries = text.replace(/\[[\s\d.,-]+\]/g, (list) => list.replace(/\s+/g, ' '));
  fs.writeFileSync(`${MANIFEST}.partial`, `${oneLineSeries}\n`);
  fs.renameSync(`${MANIFEST}.partial`, MANIFEST);
}

function faultOf(name, entry) {
  const record = readCase(name);
  const lockfile = path.join(CORPUS, 'cases', name, 'package-lock.json');
  if (!entry) return 'not measured';
  if (!entry.ground_truth.valid) return entry.ground_truth.note;
  if (!stillMeasures(entry, record)) return 'case.json has changed since it was measured';
  if (!same({ ...record, ground_truth: entry.ground_truth }, entry)) return 'the manifest has an old description';
  if (record.name !== name) return `case.json calls itself ${record.name}`;
  const locked = fs.existsSync(lockfile) ? fs.readFileSync(lockfile, 'utf8') : '';
  if (locked.includes('"resolved"')) return 'the lockfile names a registry';
  return null;
}

/** Every reason not to trust the manifest, as `case: reason`. */
export function findFaults() {
  const entries = readManifest();
  const names = caseNames();
  const gone = [...entries.keys()].filter((name) => !names.includes(name));
  const faults = names.map((name) => [name, faultOf(name, entries.get(name))]).filter(([, fault]) => fault);
  const said = faults.map(([name, fault]) => `${name}: ${fault}`);
  return [...said, ...gone.map((name) => `${name}: in the manifest only`)];
}
