// Writes two snapshots of one growing heap whose object ids can be compared.
// usage: node make_pair.js BEFORE AFTER MEGABYTES
'use strict';
const fs = require('fs');
const inspector = require('inspector');

class User { constructor(i) { this.name = 'user-' + i; this.tags = ['t' + (i % 97), i]; this.meta = { i, even: i % 2 === 0 }; } }
class Session { constructor(user, i) { this.user = user; this.token = 'tok' + i; this.onClose = () => user.name; } }

const [before, after, megabytes] = process.argv.slice(2);
const users = Math.floor((Number(megabytes) * 1e6 - 3e6) / 755);
const sessions = new Map();
let next = 0;
function grow(count) {
  for (const stop = next + count; next < stop; next++) sessions.set('s' + next, new Session(new User(next), next));
}

// One session for both: ids are given up when any session ends.
const session = new inspector.Session();
session.connect();
function take(path) {
  const fd = fs.openSync(path, 'w');
  const write = (message) => fs.writeSync(fd, message.params.chunk);
  session.on('HeapProfiler.addHeapSnapshotChunk', write);
  return new Promise((resolve, reject) => {
    session.post('HeapProfiler.takeHeapSnapshot', (error) => {
      session.off('HeapProfiler.addHeapSnapshotChunk', write);
      fs.closeSync(fd);
      if (error) reject(error); else resolve();
    });
  });
}

(async () => {
  globalThis.sessions = sessions;
  grow(Math.floor(users * 0.9));
  await take(before);
  for (let i = 0; i < users * 0.05; i++) sessions.delete('s' + i);
  grow(Math.ceil(users * 0.15));
  await take(after);
})();
