'use strict';
/**
 * Follows a settings file while a request runs. Leaky: the watcher is never closed, and holds the settings
 * object it would update.
 */
const fs = require('node:fs');
const { leaky, serve } = require('../../serve');

let count = 0;

serve(() => {
  const settings = { id: ++count, currency: 'EUR', locale: 'en', changed: false };
  const watcher = fs.watch(__filename, () => { settings.changed = true; });
  const body = JSON.stringify(settings);
  if (!leaky) watcher.close();
  return body;
});
