// A small order API, without dependencies.  Two of its routes are healthy, two leak; the tests beside it tell them apart.
'use strict';
const http = require('node:http');

const sessions = new Map();   // /login never forgets one: a leak
const priceCache = new Map(); // /price fills up and stops: healthy
const PRICES = 500;
const menu = Array.from({ length: 40 }, (_, id) => ({ id, name: `item ${id}`, cents: 250 + 25 * id }));
let served = 0;

class Session {
  constructor(user) {
    this.user = user;
    this.createdAt = Date.now();
    this.basket = [];
    this.token = Buffer.from(`${user}:${this.createdAt}`).toString('base64');
  }
}

const routes = {
  // Healthy: builds an order, answers, forgets it.
  '/orders': () => {
    const lines = menu.filter((item) => (item.id + served) % 3 === 0).map((item) => ({ ...item, quantity: 2 }));
    return { order: served, lines, cents: lines.reduce((sum, line) => sum + line.cents * line.quantity, 0) };
  },
  // Leaks: every login keeps its session in a Map that nobody empties.
  '/login': () => {
    const session = new Session(`user-${served}`);
    sessions.set(served, session);
    return { token: session.token };
  },
  // Leaks: every request starts a timer that is never cleared, and the timer keeps what it closes over.
  '/track': () => {
    const visit = { at: Date.now(), page: `/p/${served}` };
    setInterval(() => { visit.seen = true; }, 60_000);
    return { tracking: visit.page };
  },
  // Healthy: a cache with a bounded number of keys; it grows at first and then stops.
  '/price': () => {
    const id = served % PRICES;
    if (!priceCache.has(id)) priceCache.set(id, { id, cents: 100 + id, label: `price of ${id}`.repeat(4) });
    return priceCache.get(id);
  },
  '/health': () => ({ ok: true }),
};

http.createServer((request, response) => {
  const route = routes[request.url.split('?')[0]];
  served += 1;
  response.setHeader('content-type', 'application/json');
  if (!route) response.statusCode = 404;
  response.end(JSON.stringify(route ? route() : { error: 'not found' }));
}).listen(Number(process.env.PORT), '127.0.0.1');
