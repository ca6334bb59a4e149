// Takes a second to listen, and says so then.
'use strict';
const server = require('http').createServer((req, res) => res.end('hello\n'));
setTimeout(() => server.listen(Number(process.env.PORT), () => console.log('listening on', process.env.PORT)), 1000);
