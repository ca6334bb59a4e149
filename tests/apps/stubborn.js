// Hears SIGTERM, SIGINT and SIGHUP, and stays.
'use strict';
for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(name, () => console.log(`ignored ${name}`));
require('http').createServer((req, res) => res.end()).listen(Number(process.env.PORT));
