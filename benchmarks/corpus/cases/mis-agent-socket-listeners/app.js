'use strict';
/**
 * Calls an upstream over four keep-alive connections and watches the socket of each call for a timeout.
 * Leaky: the listener stays on the socket, which outlives the call. Fixed: it goes when the call ends.
 */
const http = require('node:http');
const { leaky, serve } = require('../../serve');

const upstream = http.createServer((req, res) => res.end('{"stock":7}'));
upstream.keepAliveTimeout = 600_000; // as between services of one cluster
upstream.listen(0, '127.0.0.1');
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
let count = 0;

function stock() {
  const call = { id: ++count, started: Date.now(), tags: ['stock', 'upstream'] };
  return new Promise((resolve, reject) => {
    const options = { agent, host: '127.0.0.1', port: upstream.address().port };
    const request = http.get(options, (response) => {
      response.setEncoding('utf8').once('data', resolve);
    });
    request.once('error', reject);
    request.once('socket', (socket) => {
      const onTimeout = () => request.destroy(new Error(`call ${call.id} of ${call.started} timed out`));
      socket.setMaxListeners(0);
      socket.on('timeout', onTimeout);
      if (!leaky) request.once('close', () => socket.off('timeout', onTimeout));
    });
  });
}

serve(stock);
