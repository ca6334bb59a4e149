'use strict';
/**
 * An Express API with a latency histogram per path. Leaky: the label is the path as requested, a new one per
 * customer. Fixed: the label is the route's pattern.
 */
const express = require('express');
const { Histogram, Registry } = require('prom-client');
const { announce, leaky } = require('../../serve');

const registry = new Registry();
const duration = new Histogram({
  name: 'http_request_duration_seconds',
  help: 'Duration of HTTP requests',
  labelNames: ['method', 'path', 'status'],
  registers: [registry],
});
let customers = 0;

const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.get('/metrics', async (req, res) => res.type('text').send(await registry.metrics()));
app.get('/work', (req, res) => {
  const requested = `/customers/${++customers}/orders`;
  const stop = duration.startTimer({ method: 'GET', path: leaky ? requested : '/customers/:id/orders' });
  res.json({ customer: customers, orders: [] });
  stop({ status: 200 });
});
app.listen(Number(process.env.PORT), '127.0.0.1', announce);
