// Analyses one snapshot with the DevTools heap snapshot worker, as its panel does: loader on this thread, the
// second half of the initialisation on a worker thread.
// usage: node devtools_peer.mjs BUNDLE.mjs FILE [ANSWERS.json [IDS.json]]
// Prints one JSON line: seconds, peak RSS, totals.  With ANSWERS.json also writes what comparison needs.
import fs from 'node:fs';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import {isMainThread, parentPort, Worker, workerData} from 'node:worker_threads';

const [bundle, file, answersFile, idsFile] = isMainThread ? process.argv.slice(2) : workerData;
console.warn = () => {};  // reports unreachable nodes at length
const {HeapSnapshotLoader, SecondaryInitManager} = await import(pathToFileURL(path.resolve(bundle)));

if (!isMainThread) {
  parentPort.once('message', ({port}) => { new SecondaryInitManager(port); });
} else {
  const second = new Worker(new URL(import.meta.url), {argv: [], workerData: [bundle, file]});
  await new Promise((resolve) => second.once('online', resolve));
  const start = performance.now(), cpu = process.cpuUsage();
  const loader = new HeapSnapshotLoader({sendEvent() {}});
  for await (const chunk of fs.createReadStream(file, {encoding: 'utf8', highWaterMark: 1 << 22})) loader.write(chunk);
  loader.close();
  const {port1, port2} = new MessageChannel();
  second.postMessage({port: port2}, [port2]);
  const snapshot = await loader.buildSnapshot(port1);
  const classes = snapshot.aggregatesWithFilter({});
  const seconds = (performance.now() - start) / 1000;
  const used = process.cpuUsage(cpu);
  const root = snapshot.rootNode();
  const summary = {
    seconds,
    cpu_seconds: (used.user + used.system) / 1e6,
    peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
    nodes: snapshot.nodeCount,
    edges: snapshot.containmentEdges.length / snapshot.edgeFieldsCount,
    total_retained: root.retainedSize(),
    classes: Object.keys(classes).length,
  };
  console.log(JSON.stringify(summary));
  if (answersFile) fs.writeFileSync(answersFile, JSON.stringify(answers(snapshot, JSON.parse(fs.readFileSync(idsFile, 'utf8')))));
  process.exit(0);
}

// The class table without inferred interfaces ("{a, b}" for plain objects), and with them; some objects by id.
function answers(snapshot, ids) {
  const table = () => {
    const rows = snapshot.buildAggregates();
    snapshot.calculateClassesRetainedSize(rows);
    return [...rows].map(([key, row]) => [typeof key === 'number' ? ',' + snapshot.strings[key] : key, row.count, row.self, row.maxRet]);
  };
  const inferred = table();
  snapshot.applyInterfaceDefinitions([]);
  const plain = table();
  const wanted = new Set(ids);
  const objects = [];
  const node = snapshot.createNode(0);
  for (let i = 0; i < snapshot.nodeCount; i++) {
    node.nodeIndex = i * snapshot.nodeFieldCount;
    if (wanted.has(node.id())) objects.push([node.id(), node.selfSize(), node.retainedSize(), node.distance()]);
  }
  return {inferred, plain, objects, statistics: snapshot.getStatistics(), distances: snapshot.nodeDistances.reduce((sum, d) => sum + d, 0)};
}
