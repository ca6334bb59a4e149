// Listens, but on a port of its own choice.
'use strict';
require('http').createServer((req, res) => res.end()).listen(0, '127.0.0.1');
