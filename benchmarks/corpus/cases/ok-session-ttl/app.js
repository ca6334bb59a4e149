'use strict';
/**
 * Healthy: a new session for each request, kept 3 s in a store that prunes every second. The store's size
 * follows the request rate and empties when the load ends.
 */
const express = require('express');
const session = require('express-session');
const MemoryStore = require('memorystore')(session);
const { announce } = require('../../serve');

const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.use(session({
  secret: 's',
  resave: false,
  saveUninitialized: true,
  cookie: { maxAge: 3000 },
  store: new MemoryStore({ checkPeriod: 1000, ttl: 3000 }),
}));
app.get('/work', (req, res) => {
  req.session.cart = ['a', 'b', 'c'];
  res.send('ok');
});
app.listen(Number(process.env.PORT), '127.0.0.1', announce);
