// Builds a heap of known shape and writes one snapshot of it.
// usage: node make_synthetic.js OUT.heapsnapshot MEGABYTES [list]
// MEGABYTES is about the size of the file; "list" makes one linked list a million links deep out of half of it.
'use strict';
require('inspector'); // present in every snapshot a debugger takes, so present in ours
const v8 = require('v8');

class User { constructor(i) { this.name = 'user-' + i; this.tags = ['t' + (i % 97), i]; this.meta = { i, even: i % 2 === 0 }; } }
class Session { constructor(user, i) { this.user = user; this.token = 'tok' + i; this.onClose = () => user.name; } }
class Link { constructor(value, next) { this.value = value; this.next = next; } }

const [out, megabytes, shape] = process.argv.slice(2);
// One user with its session costs about 930 bytes of snapshot, one link about 230: measured on Node 20 and 24.
const budget = Number(megabytes) * 1e6 - 3e6;
const users = Math.max(10, Math.floor(budget * (shape === 'list' ? 0.5 : 1) / 930));
const links = shape === 'list' ? Math.floor(budget * 0.5 / 230) : 0;

const app = { sessions: new Map(), byUser: new WeakMap(), recent: [], buffers: [] };
for (let i = 0; i < users; i++) {
  const user = new User(i);
  const session = new Session(user, i);
  app.sessions.set('s' + i, session);
  if (i % 5 === 0) app.byUser.set(user, { since: i });
  if (i % 3 === 0) app.recent.push(session);
  if (i % 1000 === 0) app.buffers.push(Buffer.alloc(64 * 1024));
}
let head = null;
for (let i = 0; i < links; i++) head = new Link({ i: 'v' + i }, head);
app.head = head;
globalThis.app = app;
v8.writeHeapSnapshot(out);
