'use strict';
/**
 * express-session with its default MemoryStore and visitors without a cookie.
 * Leaky: `saveUninitialized` stores a session for each of them. Fixed: an empty session is not stored.
 */
const express = require('express');
const session = require('express-session');
const { announce, leaky } = require('../../serve');

const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.use(session({ secret: 's', resave: false, saveUninitialized: leaky }));
app.get('/work', (req, res) => res.send(`welcome ${req.session.name ?? 'visitor'}`));
app.listen(Number(process.env.PORT), '127.0.0.1', announce);
