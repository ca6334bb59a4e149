// The probe: installed once into each measured isolate by Runtime.evaluate, read once a sample.
//
// It allocates everything it will ever need up front, so that being measured does not grow the heap: GC events go
// into a ring of doubles, and a reading is a flat array of numbers.  `require` exists only while this expression
// runs (includeCommandLineAPI), hence everything is captured here.
(() => {
  'use strict';
  const KEY = Symbol.for('pytest-memory.probe');
  if (globalThis[KEY]) return true;
  const { PerformanceObserver, monitorEventLoopDelay, performance } = require('perf_hooks');
  const CAPACITY = 4096; // GC events between two readings; more than a second of nothing but scavenges
  const ring = new Float64Array(CAPACITY * 3);
  let held = 0;
  let dropped = 0;
  const keep = (entries) => {
    for (const entry of entries) {
      if (held === CAPACITY) { dropped += 1; continue; }
      const at = held * 3;
      ring[at] = entry.startTime;
      ring[at + 1] = entry.duration;
      ring[at + 2] = entry.detail ? entry.detail.kind : entry.kind;
      held += 1;
    }
  };
  const observer = new PerformanceObserver((list) => keep(list.getEntries()));
  // The event loop's delay since the last reading.  A histogram forgets its last tick when it is reset: one alone would
  // lose the delay under way at each reading, and at short intervals never hold one.  Of two, the one that has run
  // for longer tells a delay that spans readings, by a maximum that rises; the other what came since it was reset.
  const RESOLUTION_MS = 20;
  let older = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  let younger = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  let seen = 0; // the maximum of `older` at the last reading
  const worstDelay = () => {
    const sure = younger.count > 0;
    let worst = older.count > 0 && older.max > seen ? older.max : -1;
    if (sure && younger.max > worst) worst = younger.max;
    if (sure) {
      const swapped = older;
      older = younger;
      younger = swapped;
      younger.reset();
    }
    seen = older.count > 0 ? older.max : 0;
    return worst < 0 ? -1 : Math.max(0, worst / 1e6 - RESOLUTION_MS);
  };
  const activeResources = process.getActiveResourcesInfo ? process.getActiveResourcesInfo.bind(process) : null;
  const memoryUsage = process.memoryUsage;
  let paused = true;
  const probe = {
    // -> [now_ms, heapUsed, heapTotal, external, arrayBuffers, loop delay max in ms or -1, handles or -1,
    //     gc events dropped, then (start_ms, duration_ms, kind) of each GC event since the last reading]
    read(withHandles) {
      const usage = memoryUsage();
      const worst = worstDelay();
      const out = [performance.now(), usage.heapUsed, usage.heapTotal, usage.external, usage.arrayBuffers, worst,
        withHandles && activeResources ? activeResources().length : -1, dropped];
      for (let at = 0; at < held * 3; at += 1) out.push(ring[at]);
      held = 0;
      dropped = 0;
      return out;
    },
    // Installed paused, and paused while a settled reading is taken: the observer's entries and the histogram's timer
    // would keep the heap moving, and the collections are ours.
    resume() {
      if (!paused) return;
      paused = false;
      observer.observe({ entryTypes: ['gc'] });
      older.enable();
      younger.enable();
    },
    // -> a last reading: every collection before the pause is in it or in one before, none of those after it.
    pause() {
      if (!paused) {
        paused = true;
        keep(observer.takeRecords()); // what has not been delivered yet would be lost
        observer.disconnect();
        for (const histogram of [older, younger]) {
          histogram.disable();
          histogram.reset();
        }
        seen = 0;
      }
      return probe.read(false);
    },
    remove() {
      delete globalThis[KEY];
      return probe.pause();
    },
  };
  Object.defineProperty(globalThis, KEY, { value: probe, configurable: true });
  return true;
})()
