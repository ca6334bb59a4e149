// Runs first in every Node process of the app under test (NODE_OPTIONS=--require): opens an inspector on a random
// loopback port and announces it in a private file.  A flag would do the same in fewer lines, but --inspect in
// NODE_OPTIONS breaks `next dev`, gives npm the port meant for the app, and hands cluster workers clashing ports.
// It must never break the app: no globals, no listeners, nothing kept alive, and every failure is swallowed.
'use strict';
try {
  const file = process.env.PYTEST_MEMORY_ANNOUNCE;
  // Worker threads are reached through their process's inspector.
  if (file && require('worker_threads').isMainThread) {
    const script = process.argv[1] || '';
    const note = {
      pid: process.pid,
      ppid: process.ppid,
      argv: process.argv,
      execArgv: process.execArgv,
      version: process.version,
      wrapper: /(^|[\\/])(npm|npx|pnpm|pnpx|yarn|yarnpkg|corepack)(-cli|-berry|-\d[\w.-]*)?(\.[cm]?js)?$/.test(script),
      url: null,
      refused: null,
    };
    if (!note.wrapper) {
      try {
        const inspector = require('inspector');
        // The app's own --inspect is respected and shared.
        if (!inspector.url()) inspector.open(0, '127.0.0.1', false);
        note.url = inspector.url() || null;
      } catch (error) {
        note.refused = String(error && error.message);
      }
      if (process.env.PYTEST_MEMORY_PRECISE) {
        // Compiled code and dropped bytecode move the heap by more than a small leak does.
        const flags = ['--no-opt', '--no-sparkplug', '--no-flush-bytecode'];
        // Node 18 has no maglev and says so on stderr.
        if (Number(process.versions.node.split('.')[0]) >= 20) flags.push('--no-maglev');
        for (const flag of flags) require('v8').setFlagsFromString(flag);
      }
    }
    // One write of one line: whole even when several processes append at once.
    require('fs').appendFileSync(file, JSON.stringify(note) + '\n');
  }
} catch {
  // Under --permission without write access the app runs unannounced; Python says so.
}
