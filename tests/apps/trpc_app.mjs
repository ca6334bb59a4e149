// A tRPC server (10 or 11, whichever is installed beside it) with queries, mutations, subscriptions and errors.
// Prints its port as JSON; /counts tells what it has seen.
import http from 'node:http';
import { readFileSync } from 'node:fs';
import { initTRPC, TRPCError } from '@trpc/server';
import { createHTTPHandler } from '@trpc/server/adapters/standalone';
import { applyWSSHandler } from '@trpc/server/adapters/ws';
import { observable } from '@trpc/server/observable';
import superjson from 'superjson';
import { WebSocketServer } from 'ws';

const { version } = JSON.parse(readFileSync(new URL('./node_modules/@trpc/server/package.json', import.meta.url)));
const major = Number(version.split('.')[0]);
const counts = { calls: 0, inputs: {}, listeners: 0, subscriptions: 0 };

const t = initTRPC.create(process.env.SUPERJSON ? { transformer: superjson } : {});
const counted = t.procedure.input((input) => input).use(({ path, next, rawInput, getRawInput }) => { counts.calls++; return next(); });

const describe = (value) => Object.prototype.toString.call(value).slice(8, -1);

async function* ticks(signal) {
  counts.listeners++;
  counts.subscriptions++;
  try {
    for (let n = 0; !signal?.aborted; n++) {
      yield n;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  } finally {
    counts.listeners--;
  }
}

const observed = () => observable((emit) => {
  counts.listeners++;
  counts.subscriptions++;
  let n = 0;
  const timer = setInterval(() => emit.next(n++), 5);
  return () => { counts.listeners--; clearInterval(timer); };
});

const router = t.router({
  post: t.router({
    list: counted.query(({ input }) => { counts.inputs.list = input ?? null; return { page: input?.page ?? 0 }; }),
    add: counted.mutation(({ input }) => { counts.inputs.add = input ?? null; return { ok: true }; }),
    kinds: counted.query(({ input }) => {
      counts.inputs.kinds = Object.fromEntries(Object.entries(input).map(([key, value]) => [key, describe(value)]));
      return { when: new Date(0) };
    }),
  }),
  fail: counted.query(() => { throw new TRPCError({ code: 'BAD_REQUEST', message: 'no such post' }); }),
  ticks: major >= 11
    ? t.procedure.subscription((opts) => ticks(opts.signal))
    : t.procedure.subscription(observed),
  // Those of version 11 that end by themselves.
  ...(major >= 11 && {
    breaks: t.procedure.subscription(async function* () {
      yield 1;
      throw new TRPCError({ code: 'BAD_REQUEST', message: 'no more ticks' });
    }),
    yieldsOne: t.procedure.subscription(async function* () { yield 1; }),
  }),
});

const handler = createHTTPHandler({
  router,
  // Some servers answer every error with 200, for clients that cannot read others.
  responseMeta: () => (process.env.ALWAYS_200 ? { status: 200 } : {}),
});

const server = http.createServer((req, res) => {
  if (req.url === '/counts') {
    res.setHeader('connection', 'close');
    return res.end(JSON.stringify({ ...counts, version }));
  }
  if (!req.url.startsWith('/trpc/')) { res.statusCode = 404; return res.end(); }
  req.url = req.url.slice('/trpc'.length);
  handler(req, res);
});

applyWSSHandler({ wss: new WebSocketServer({ server, path: '/trpc' }), router });
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, version })));
