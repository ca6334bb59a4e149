'use strict';
/**
 * A tRPC shop API with an audit middleware. Leaky: every call's input, headers and date stay in a module
 * array. Fixed: the trail holds at most a hundred entries.
 */
const { initTRPC } = require('@trpc/server');
const { createHTTPServer } = require('@trpc/server/adapters/standalone');
const { z } = require('zod');
const { announce, leaky } = require('../../serve');

const t = initTRPC.context().create();
const auditTrail = [];
const products = new Map([['p1', { id: 'p1', price: 10 }]]);

const audited = t.procedure.use(async ({ ctx, path, next, getRawInput }) => {
  const input = await getRawInput();
  const result = await next();
  auditTrail.push({ path, input, ip: ctx.ip, headers: ctx.headers, at: new Date() });
  if (!leaky && auditTrail.length > 100) auditTrail.shift();
  return result;
});

const router = t.router({
  product: t.router({
    byId: audited.input(z.object({ id: z.string() })).query(({ input }) => products.get(input.id) ?? null),
    list: t.procedure.query(() => [...products.values()]),
  }),
  cart: t.router({
    add: audited
      .input(z.object({ id: z.string(), qty: z.number().int().min(1) }))
      .mutation(({ input }) => ({ ok: true, total: input.qty * 10 })),
  }),
});

createHTTPServer({
  router,
  createContext: ({ req }) => ({ ip: req.socket.remoteAddress, headers: req.headers }),
  middleware: (req, res, next) => (req.url === '/health' ? res.end('ok') : next()),
}).listen(Number(process.env.PORT), '127.0.0.1', announce);
