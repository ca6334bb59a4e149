'use strict';
/**
 * Healthy: 400 templates are compiled and cached on first use, chosen at random. The last ones are met only
 * after thousands of requests (coupon collector), then growth ends.
 */
const ejs = require('ejs');
const express = require('express');
const { announce } = require('../../serve');

const TEMPLATES = 400;
const cache = new Map();

function template(i) {
  if (!cache.has(i)) {
    const source = `<div class="c${i}"><% for (const x of items) { %><p id="p${i}"><%= x %></p><% } %></div>`;
    cache.set(i, ejs.compile(source));
  }
  return cache.get(i);
}

const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.get('/work', (req, res) => {
  const i = Math.floor(Math.random() * TEMPLATES);
  res.send(template(i)({ items: ['a', 'b', i] }));
});
app.listen(Number(process.env.PORT), '127.0.0.1', announce);
