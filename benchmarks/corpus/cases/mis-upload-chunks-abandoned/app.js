'use strict';
/**
 * Chunked uploads: four chunks of 16 KB each are joined when the last is there; one upload in ten is
 * abandoned after three. Leaky: its chunks wait for ever. Fixed: only the newest twenty uploads may wait.
 */
const { leaky, serve } = require('../../serve');

const CHUNK_BYTES = 16 * 1024;
const waiting = new Map();
let uploads = 0;

function receive(id, chunk, isLast) {
  const chunks = waiting.get(id) ?? [];
  chunks.push(chunk);
  waiting.set(id, chunks);
  if (!leaky && waiting.size > 20) waiting.delete(waiting.keys().next().value);
  if (!isLast) return 0;
  waiting.delete(id);
  return chunks.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

serve(() => {
  const id = ++uploads;
  let bytes = 0;
  for (let i = 1; i <= (id % 10 === 0 ? 3 : 4); i++) bytes = receive(id, new Uint8Array(CHUNK_BYTES).fill(i), i === 4);
  return `upload ${id}: ${bytes} bytes`;
});
