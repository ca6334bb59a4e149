// Writes two snapshots of itself whose object ids can be compared, before and after collections grew whose classes
// are not called Map or Set.
// usage: node heap-subclasses.js PREFIX
'use strict';
const fs = require('fs');
const inspector = require('inspector');

class Session {}
class SessionStore extends Map {}
class TagBag extends Set {}
class Recent extends SessionStore {}
class FewLeft extends Map {}
class WeakNotes extends WeakMap {}

const held = {
  store: new SessionStore(), tags: new TagBag(), recent: new Recent(), few: new FewLeft(), notes: new WeakNotes(),
};
globalThis.held = held;

function fill(from, to) {
  for (let i = from; i < to; i++) {
    const session = new Session();
    held.store.set('k' + i, session);
    held.notes.set(session, { note: i });
    if (i < 2000) held.tags.add({ tag: i });
    if (i < 1000) held.recent.set(i, session);
    held.few.set('f' + i, session);
    if (i >= 700) held.few.delete('f' + i);
  }
}

const session = new inspector.Session();
session.connect();
function take(path) {
  const fd = fs.openSync(path, 'w');
  const write = (message) => fs.writeSync(fd, message.params.chunk);
  session.on('HeapProfiler.addHeapSnapshotChunk', write);
  return new Promise((resolve, reject) => {  // Node 26 answers later
    session.post('HeapProfiler.takeHeapSnapshot', { reportProgress: false }, (error) => {
      session.off('HeapProfiler.addHeapSnapshotChunk', write);
      fs.closeSync(fd);
      if (error) reject(error); else resolve();
    });
  });
}

(async () => {
  session.post('HeapProfiler.enable');
  fill(0, 100);
  await take(process.argv[2] + '1.heapsnapshot');
  fill(100, 3000);
  await take(process.argv[2] + '2.heapsnapshot');
})();
