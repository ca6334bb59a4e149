'use strict';
/**
 * An upload service that keeps a 32-byte fingerprint of every tenth chunk.
 * Leaky: the fingerprint is a view, and a view keeps the whole 64 KB chunk. Fixed: the bytes are copied
 * and only the newest thousand are kept.
 */
const { leaky, serve } = require('../../serve');

const CHUNK_BYTES = 64 * 1024;
const recent = new Map();
const audited = [];
let count = 0;

serve(() => {
  const id = ++count;
  const chunk = Buffer.alloc(CHUNK_BYTES, id & 255);
  chunk.writeUInt32LE(id, 0);
  const view = chunk.subarray(0, 32);

  recent.set(id, leaky ? view : Buffer.from(view));
  if (recent.size > 1000) recent.delete(recent.keys().next().value);
  if (leaky && id % 10 === 0) audited.push(view);

  return view.toString('hex');
});
