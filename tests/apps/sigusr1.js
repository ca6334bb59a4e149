// Uses SIGUSR1 for itself, so node does not open an inspector on it.
'use strict';
process.on('SIGUSR1', () => console.log('rotating logs'));
require('http').createServer((req, res) => res.end()).listen(Number(process.env.PORT), () => {
  process.stdout.write('ready\n');
});
