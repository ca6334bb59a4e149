// Analyses one snapshot with memlab: full heap (dominators and retained sizes), then a table by type and name.
// usage: node memlab_peer.js MODULES_DIR FILE [ANSWERS.json [IDS.json]]
// Prints one JSON line: seconds, peak RSS, totals.  With ANSWERS.json also writes what comparison needs.
'use strict';
const fs = require('fs');
const [modules, file, answersFile, idsFile] = process.argv.slice(2);
const load = (name) => require(require.resolve(name, { paths: [modules] }));
const { getFullHeapFromFile } = load('@memlab/heap-analysis');
const { info } = load('@memlab/core');
for (const method of ['overwrite', 'lowLevel', 'midLevel', 'topLevel', 'highLevel', 'warning', 'nextLine']) info[method] = () => {};

(async () => {
  const start = performance.now(), cpu = process.cpuUsage();
  const heap = await getFullHeapFromFile(file);
  const table = new Map();
  let root = null;
  heap.nodes.forEach((node) => {
    if (root === null) root = node;
    const key = node.type + '\n' + node.name;
    const row = table.get(key);
    if (row) { row[0]++; row[1] += node.self_size; row[2] += node.retainedSize; } else table.set(key, [1, node.self_size, node.retainedSize]);
  });
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const summary = { seconds, cpu_seconds: (used.user + used.system) / 1e6, peak_rss_bytes: process.resourceUsage().maxRSS * 1024, nodes: heap.nodes.length, edges: heap.edges.length, total_retained: root.retainedSize, classes: table.size };
  console.log(JSON.stringify(summary));
  if (answersFile) {
    const objects = JSON.parse(fs.readFileSync(idsFile, 'utf8')).map((id) => { const node = heap.getNodeById(id); return [id, node.self_size, node.retainedSize]; });
    fs.writeFileSync(answersFile, JSON.stringify({ names: [...table].map(([key, row]) => [...split(key), ...row]), objects }));
  }
})();

function split(key) {
  const at = key.indexOf('\n');
  return [key.slice(0, at), key.slice(at + 1)];
}
