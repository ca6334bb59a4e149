// Writes three snapshots of itself whose object ids can be compared: at first, after growing, after growing on.
// usage: node heap-growth.js PREFIX
'use strict';
const fs = require('fs');
const inspector = require('inspector');
const { EventEmitter } = require('events');

class Session { constructor(i) { this.id = 's' + i; this.data = { owner: 'o' + i, rights: [i] }; } }

const store = { sessions: new Map(), seen: new Set(), log: [], cache: {}, events: new EventEmitter() };
store.events.setMaxListeners(0);
globalThis.store = store;

function grow(from, count) {
  for (let i = from; i < from + count; i++) {
    const session = new Session(i);
    store.sessions.set('k' + i, session);
    store.seen.add({ visitor: 'v' + i });
    store.log.push({ line: 'l' + i });
    store.cache['user ' + i] = 'copy of a text '.repeat(20) + (i % 3);
    store.events.on('change', function onChange() { return session; });
  }
}

const session = new inspector.Session();
session.connect();
function take(path) {
  const fd = fs.openSync(path, 'w');
  const write = (message) => fs.writeSync(fd, message.params.chunk);
  session.on('HeapProfiler.addHeapSnapshotChunk', write);
  return new Promise((resolve, reject) => session.post('HeapProfiler.takeHeapSnapshot', (error) => setImmediate(() => {
    session.off('HeapProfiler.addHeapSnapshotChunk', write);
    fs.closeSync(fd);
    if (error) reject(error); else resolve();
  })));
}

(async () => {
  const prefix = process.argv[2];
  grow(0, 100);
  await take(prefix + '1.heapsnapshot');
  grow(100, 500);
  for (let i = 0; i < 50; i++) store.sessions.delete('k' + i);
  store.events.listeners('change').slice(0, 50).forEach((listener) => store.events.off('change', listener));
  await take(prefix + '2.heapsnapshot');
  grow(600, 100);
  for (let i = 100; i < 300; i++) store.sessions.delete('k' + i);
  store.events.removeAllListeners();
  await take(prefix + '3.heapsnapshot');
})();
