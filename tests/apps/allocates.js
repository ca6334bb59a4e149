// GET /keep keeps 1,000 sessions a request (/keep?n=5: five), GET /drop makes as many and lets them go, GET /forget
// lets all go; GET /die ends the process with status 7.
'use strict';
class Session {
  constructor(id) { this.id = id; this.note = `session ${id} ${'x'.repeat(20)}`; }
}
const sessions = new Map();
let next = 0;
function keepSessions(count) {
  for (let i = 0; i < count; i++) sessions.set(next, new Session(next++));
}
function dropSessions(count) {
  let last;
  for (let i = 0; i < count; i++) last = new Session(i);
  return last;
}
require('http').createServer((req, res) => {
  const url = new URL(req.url, 'http://localhost');
  const count = Number(url.searchParams.get('n') || 1000);
  if (url.pathname === '/keep') keepSessions(count);
  else if (url.pathname === '/drop') dropSessions(count);
  else if (url.pathname === '/forget') sessions.clear();
  else if (url.pathname === '/die') process.exit(7);
  else if (url.pathname === '/missing') res.statusCode = 404;
  res.end('ok');
}).listen(Number(process.env.PORT || 3000));
