'use strict';
/**
 * A logger per request, with its metadata, closed at the end of the request.
 * Leaky (winston 3.3.3): close() leaves the exception handler's listener on `process`.
 */
const { leaky, serve } = require('../../serve');
const winston = require(leaky ? 'winston-leaky' : 'winston-fixed');

let count = 0;

serve((req) => {
  const logger = winston.createLogger({
    level: 'info',
    defaultMeta: { requestId: ++count },
    format: winston.format.json(),
    transports: [new winston.transports.Console({ silent: true, handleExceptions: true })],
    exitOnError: false,
  });
  logger.info('handling', { url: req.url });
  logger.close();
  return 'ok';
});
