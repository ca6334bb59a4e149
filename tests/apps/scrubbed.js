// A launcher that gives the server an environment with nothing but its port.
'use strict';
const { spawn } = require('child_process');
spawn(process.execPath, [require('path').join(__dirname, 'hello.js')], {
  env: { PORT: process.env.PORT },
  stdio: 'inherit',
});
