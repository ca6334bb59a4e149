'use strict';
/**
 * A gateway whose upstream calls all carry one cancel token, cancelled at shutdown.
 * Leaky (axios 0.21.4): each request subscribes to the token's promise and cannot unsubscribe.
 */
const http = require('node:http');
const express = require('express');
const { announce, leaky } = require('../../serve');
const axios = require(leaky ? 'axios-leaky' : 'axios-fixed');

const upstream = http.createServer((req, res) => res.end('{"price":10,"currency":"EUR"}'));
upstream.listen(0, '127.0.0.1');

const shutdown = axios.CancelToken.source();
const agent = new http.Agent({ keepAlive: true });

const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.get('/work', async (req, res, next) => {
  try {
    const url = `http://127.0.0.1:${upstream.address().port}/price`;
    const { data } = await axios.get(url, { cancelToken: shutdown.token, httpAgent: agent });
    res.json(data);
  } catch (error) {
    next(error);
  }
});
app.listen(Number(process.env.PORT), '127.0.0.1', announce);
