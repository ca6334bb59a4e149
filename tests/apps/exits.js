// Ends by itself: `node exits.js STATUS DELAY_MS`, by process.exit, or by an exception for STATUS "throw".
'use strict';
const [status, delayMs] = process.argv.slice(2);
console.error('cannot reach the database');
setTimeout(() => {
  if (status === 'throw') throw new Error('the last straw');
  process.exit(Number(status));
}, Number(delayMs || 0));
