// Has a child, a grandchild whose parent has gone, and a daemon in a session of its own; GET / lists their pids.
'use strict';
const { spawn } = require('child_process');
const idle = ['-e', 'setInterval(() => {}, 1000)'];
const child = spawn(process.execPath, idle);
const daemon = spawn(process.execPath, idle, { detached: true, stdio: 'ignore' });
daemon.unref();
const orphanMaker = spawn('/bin/sh', ['-c', 'sleep 300 >/dev/null 2>&1 & echo $!'], { detached: true });
orphanMaker.stdout.once('data', (text) => {
  const pids = { child: child.pid, daemon: daemon.pid, orphan: Number(text) };
  require('http').createServer((req, res) => res.end(JSON.stringify(pids))).listen(Number(process.env.PORT));
});
