#!/usr/bin/env node
/**
 * Writes the tables of README.md from manifest.json, between the two marker comments.
 *
 *     node readme.mjs            rewrite the tables
 *     node readme.mjs --check    exit status 1 when they are not what the manifest says
 */
import fs from 'node:fs';
import path from 'node:path';
import { readManifest } from './manifest.mjs';
import { CORPUS } from './rig.mjs';

const README = path.join(CORPUS, 'README.md');
const BEGIN = '<!-- tables: written by readme.mjs from manifest.json -->';
const END = '<!-- end of tables -->';

const UNITS = { fds: 'fds', handles: 'handles' };
const CATEGORIES = {
  'package-version': 'npm packages: the version with the leak and the version with the fix',
  misuse: 'Documented misuses',
  healthy: 'Healthy look-alikes',
};

/** Mean growth per request of a variant, as `1,024 B` or `0.1 fds`. */
function growth({ metric, measured }, variant) {
  const series = measured[variant].per_request[metric] ?? [0];
  const mean = series.reduce((sum, x) => sum + x, 0) / series.length;
  if (UNITS[metric]) return `${Number(mean.toFixed(3))} ${UNITS[metric]}`;
  return `${Math.round(mean).toLocaleString('en-US')} B`;
}

function what({ package: name, versions }) {
  const distinct = [...new Set(Object.values(versions ?? {}))];
  return distinct.length ? `${name} ${distinct.join(' → ')}` : name;
}

/** What fills a table cell must not end it. */
const cell = (text) => String(text).replaceAll('|', '\\|');

function row(entry) {
  const truth = entry.ground_truth;
  const figures = Object.keys(truth.measured).map((variant) => growth(truth, variant));
  const why = entry.what_leaks ?? entry.tricky_because;
  const cells = [`\`${entry.name}\``, what(entry), entry.memory_kind, ...figures, why, entry.source];
  return `| ${cells.map(cell).join(' | ')} |`;
}

function tables(cases) {
  return Object.entries(CATEGORIES).flatMap(([category, title]) => {
    const rows = cases.filter((entry) => entry.category === category);
    const head = category === 'healthy'
      ? ['| case | uses | kind | measured | why it is tricky | source |', '|---|---|---|--:|---|---|']
      : ['| case | uses | kind | leaky | fixed | what leaks | source |', '|---|---|---|--:|--:|---|---|'];
    return [`### ${title} (${rows.length})`, '', ...head, ...rows.map(row), ''];
  });
}

const cases = [...readManifest().values()];
const old = fs.readFileSync(README, 'utf8');
const [before, rest] = old.split(BEGIN);
const [, after] = rest.split(END);
const text = [before + BEGIN, '', ...tables(cases), END].join('\n') + after;
if (process.argv.includes('--check')) {
  if (text !== old) console.log('README.md is not what manifest.json says; run `node readme.mjs`');
  process.exitCode = text === old ? 0 : 1;
} else {
  fs.writeFileSync(README, text);
}
