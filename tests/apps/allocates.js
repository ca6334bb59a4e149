// GET /keep keeps 1,000 sessions a request, GET /drop makes as many and lets them go, GET /forget lets all go.
'use strict';
class Session {
  constructor(id) { this.id = id; this.note = `session ${id} ${'x'.repeat(20)}`; }
}
const sessions = new Map();
let next = 0;
function keepSessions() {
  for (let i = 0; i < 1000; i++) sessions.set(next, new Session(next++));
}
function dropSessions() {
  let last;
  for (let i = 0; i < 1000; i++) last = new Session(i);
  return last;
}
require('http').createServer((req, res) => {
  if (req.url === '/keep') keepSessions();
  else if (req.url === '/drop') dropSessions();
  else if (req.url === '/forget') sessions.clear();
  res.end('ok');
}).listen(Number(process.env.PORT || 3000));
