'use strict';
/**
 * Validates a file by its first bytes. Leaky: the early return for a wrong file type, one request in ten,
 * skips the close. Fixed: closed in `finally`.
 */
const fs = require('node:fs');
const { leaky, serve } = require('../../serve');

let count = 0;

function firstLine(file, wanted) {
  const fd = fs.openSync(file, 'r');
  let refused = false;
  try {
    const head = Buffer.alloc(64);
    fs.readSync(fd, head, 0, head.length, 0);
    refused = !head.toString('latin1').startsWith(wanted);
    return refused ? 'refused' : head.toString('latin1').split('\n')[0];
  } finally {
    if (!leaky || !refused) fs.closeSync(fd);
  }
}

serve(() => firstLine(__filename, ++count % 10 === 0 ? '%PDF' : "'use strict'"));
