'use strict';
/**
 * Queries an in-memory SQLite database compiled to WebAssembly (sql.js).
 * Leaky: the prepared statement of each request is not freed; it lives in WebAssembly memory, which only grows.
 */
const initSqlJs = require('sql.js');
const { leaky, serve } = require('../../serve');

async function openDatabase() {
  const { Database } = await initSqlJs();
  const db = new Database();
  db.run('CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)');
  for (let i = 0; i < 200; i++) db.run('INSERT INTO item VALUES (?, ?, ?)', [i, `item ${i}`, i * 10]);
  return db;
}

const opening = openDatabase();
let count = 0;

serve(async () => {
  const db = await opening;
  const statement = db.prepare('SELECT name, price FROM item WHERE id = :id');
  const row = statement.getAsObject({ ':id': ++count % 200 });
  if (!leaky) statement.free();
  return JSON.stringify(row);
});
