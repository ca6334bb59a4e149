'use strict';
/**
 * An admin endpoint that reloads the logging configuration, as a configuration service would push it.
 * Leaky (log4js 6.3.0): the file appender of the previous configuration is never closed.
 */
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { setTimeout: sleep } = require('node:timers/promises');
const { leaky, serve } = require('../../serve');
const log4js = require(leaky ? 'log4js-leaky' : 'log4js-fixed');

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corpus-log4js-'));
process.on('exit', () => fs.rmSync(directory, { recursive: true, force: true }));
process.once('SIGTERM', () => process.exit(0)); // a default SIGTERM would skip the line above
process.setMaxListeners(0);
let reloads = 0;

serve(async () => {
  const level = reloads++ % 2 ? 'info' : 'debug';
  const filename = path.join(directory, 'app.log');
  log4js.configure({
    appenders: { file: { type: 'file', filename, maxLogSize: 10e6, backups: 1 } },
    categories: { default: { appenders: ['file'], level } },
  });
  log4js.getLogger('app').info(`reloaded ${reloads}`);
  await sleep(3);
  return String(reloads);
});
