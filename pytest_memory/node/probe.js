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
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (held === CAPACITY) { dropped += 1; continue; }
      const at = held * 3;
      ring[at] = entry.startTime;
      ring[at + 1] = entry.duration;
      ring[at + 2] = entry.detail ? entry.detail.kind : entry.kind;
      held += 1;
    }
  });
  const delay = monitorEventLoopDelay({ resolution: 20 });
  const resume = () => { observer.observe({ entryTypes: ['gc'] }); delay.enable(); return true; };
  const pause = () => { observer.disconnect(); delay.disable(); delay.reset(); return true; };
  resume();
  const activeResources = process.getActiveResourcesInfo ? process.getActiveResourcesInfo.bind(process) : null;
  const memoryUsage = process.memoryUsage;
  const probe = {
    // -> [now_ms, heapUsed, heapTotal, external, arrayBuffers, loop delay max in ms or -1, handles or -1,
    //     gc events dropped, then (start_ms, duration_ms, kind) of each GC event since the last reading]
    read(withHandles) {
      const usage = memoryUsage();
      const worst = delay.count === 0 ? -1 : delay.max / 1e6;
      delay.reset();
      const out = [performance.now(), usage.heapUsed, usage.heapTotal, usage.external, usage.arrayBuffers, worst,
        withHandles && activeResources ? activeResources().length : -1, dropped];
      for (let at = 0; at < held * 3; at += 1) out.push(ring[at]);
      held = 0;
      dropped = 0;
      return out;
    },
    // While a settled reading is taken: the observer's entries and the histogram's timer would keep the heap moving,
    // and the collections are ours.
    pause,
    resume,
    remove() {
      delete globalThis[KEY];
      return pause();
    },
  };
  Object.defineProperty(globalThis, KEY, { value: probe, configurable: true });
  return true;
})()
