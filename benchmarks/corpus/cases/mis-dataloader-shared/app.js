'use strict';
/**
 * A Fastify API that reads users through DataLoader. Leaky: one loader for the process, whose cache keeps
 * every user ever read. Fixed: a loader per request, as its documentation asks.
 */
const DataLoader = require('dataloader');
const fastify = require('fastify')();
const { announce, leaky } = require('../../serve');

async function readUsers(ids) {
  return ids.map((id) => ({ id, name: `user ${id}`, groups: [`group-${id % 10}`], active: id % 3 > 0 }));
}

const shared = new DataLoader(readUsers);
let users = 0;

fastify.get('/health', async () => 'ok');
fastify.get('/work', async () => {
  const loader = leaky ? shared : new DataLoader(readUsers);
  const id = ++users;
  const [user, again] = await Promise.all([loader.load(id), loader.load(id)]);
  return { user, same: user === again };
});
fastify.listen({ port: Number(process.env.PORT), host: '127.0.0.1' }).then(announce);
