// Answers with what it was given: arguments, environment, directory, flags.  The port comes as the first argument.
'use strict';
const { env, argv, execArgv } = process;
require('http').createServer((req, res) => {
  res.end(JSON.stringify({ argv: argv.slice(2), env, execArgv, cwd: process.cwd() }));
}).listen(Number(argv[2] || env.PORT));
