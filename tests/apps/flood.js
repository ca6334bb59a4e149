// Prints FLOOD_MB megabytes before it listens.
'use strict';
const line = 'x'.repeat(1023) + '\n';
const block = Buffer.from(line.repeat(1024));
const { writeSync } = require('fs');
for (let i = 0; i < Number(process.env.FLOOD_MB); i += 1) {
  for (let at = 0; at < block.length;) {
    try {
      at += writeSync(1, block, at);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}
console.log('the last line');
require('http').createServer((req, res) => res.end()).listen(Number(process.env.PORT));
