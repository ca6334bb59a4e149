// A launcher like that of some frameworks: forks the server and hands on its exit status.
'use strict';
const { fork } = require('child_process');
const server = fork(require('path').join(__dirname, 'farewell.js'));
server.on('exit', (status, signal) => process.exit(signal ? 1 : status));
process.on('SIGTERM', () => server.kill('SIGTERM'));
