'use strict';
/**
 * A chat server whose sockets join their room after a look-up; each request plays a visitor who leaves
 * before the look-up is done. Leaky (socket.io 4.5.1): the socket joins the room after its disconnection.
 */
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const { WebSocket } = require('ws');
const { leaky, serve } = require('../../serve');
const { Server } = require(leaky ? 'socket.io-leaky' : 'socket.io-fixed');

const LOOK_UP_MS = 5;
let visits = 0;

function onConnection(socket) {
  const conversation = `conversation:${++visits}`;
  socket.on('disconnect', async () => {
    await sleep(LOOK_UP_MS);
    socket.join(conversation);
  });
}

async function visit(port) {
  const client = new WebSocket(`ws://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`);
  client.once('message', () => client.send('40')); // Engine.IO's "open", answered by Socket.IO's CONNECT
  await once(client, 'open');
  await new Promise((resolve) => {
    client.on('message', (data) => { if (String(data).startsWith('40')) resolve(); });
  });
  client.close();
  await once(client, 'close');
  await sleep(2 * LOOK_UP_MS);
  return `visit ${visits}`;
}

const server = serve(() => visit(server.address().port));
new Server(server, { transports: ['websocket'] }).on('connection', onConnection);
