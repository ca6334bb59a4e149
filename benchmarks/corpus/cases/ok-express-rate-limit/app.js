'use strict';
/**
 * Healthy: express-rate-limit with its memory store, a window of 2 s and a new key for every request. The
 * store keeps the current window and the one before, then forgets them.
 */
const express = require('express');
const { rateLimit } = require('express-rate-limit');
const { announce } = require('../../serve');

let clients = 0;

const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.use(rateLimit({ windowMs: 2000, limit: 100, keyGenerator: () => `client-${++clients}`, standardHeaders: true }));
app.get('/work', (req, res) => res.send('ok'));
app.listen(Number(process.env.PORT), '127.0.0.1', announce);
