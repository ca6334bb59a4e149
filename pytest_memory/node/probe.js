// The probe: a function installed into each measured isolate by Runtime.evaluate and called with a reader's token.
//
// Every sampler that watches the isolate is a reader of its own (the fixture's, one the test made, a command beside
// them): what one reads is not taken from the others, and while one of them settles the heap all are silent.  The probe
// allocates everything it will ever need up front, so that being measured does not grow the heap: GC events, where V8 does
// not trace them, go into a ring of doubles, and a reading is a flat array of numbers.  `require` exists only while this
// expression runs (includeCommandLineAPI), hence everything is captured here.
//
// Being asked costs an app under load many times what it costs to look at its sizes.  A reader on the same machine that
// reads often names a file (`node/notes.py` has its format), in which the probe notes the sizes a moment before they are
// wanted; it is asked where no note came, and for all the rest.
((token, notesPath, intervalMs) => {
  'use strict';
  const KEY = Symbol.for('pytest-memory.probe');
  if (globalThis[KEY]) return globalThis[KEY].join(token, notesPath, intervalMs);
  const { PerformanceObserver, monitorEventLoopDelay, performance } = require('perf_hooks');
  const { AsyncResource } = require('async_hooks');
  const { setImmediate, setTimeout } = require('timers'); // not the global ones, which tests replace
  const { openSync, fstatSync, writeSync, closeSync } = require('fs');
  const CAPACITY = 4096; // GC events between two readings; more than a second of nothing but scavenges
  const RESOLUTION_MS = 20;
  const SMALL_DELAY_MS = 5;
  const NOTE_FIELDS = 8;
  const NOTES = 64; // those of a reader that comes late are not overwritten
  const NOTED_BEFORE_MS = 10; // or a quarter of the interval: a loop under load is late by some milliseconds
  const LONGEST_SILENCE_MS = 10_000; // a reader asks every second: one that does not was killed, or has lost its connection
  const LONGEST_PAUSE_MS = 300_000; // a reader that was killed while it settled does not silence the others for ever
  // V8 keeps the texts of numbers in caches that grow to their whole size, 64 to 256 KB, when two numbers first meet in
  // one place: by chance, and in any measurement.  These meet here, before all of them.
  for (const number of [100_003, 100_003 + 2 ** 14]) String(number);
  for (let number = 0.5; number < 100; number += 1) String(number);
  const readers = new Map();
  const pauses = new Map(); // token -> when it paused
  let observing = false;

  const keep = (entries) => {
    for (const entry of entries) {
      const kind = entry.detail ? entry.detail.kind : entry.kind;
      for (const reader of readers.values()) {
        if (!reader.listens || !reader.observes) continue;
        if (reader.held === CAPACITY) { reader.dropped += 1; continue; }
        const at = reader.held * 3;
        reader.ring[at] = entry.startTime;
        reader.ring[at + 1] = entry.duration;
        reader.ring[at + 2] = kind;
        reader.held += 1;
      }
    }
  };
  const observer = new PerformanceObserver((list) => keep(list.getEntries()));
  // The event loop's delay since the last reading.  A histogram forgets its last tick when it is reset: one alone would
  // lose the delay under way at each reading, and at short intervals never hold one.  Of two, the one that has run
  // for longer tells a delay that spans readings, by a maximum that rises; the other what came since it was reset.
  // Resetting one overwrites 370 KB, which an app under load misses in its caches: while all delays are small, a note does
  // without, and tells the longest since the last reading that was asked for.
  const worstDelay = (reader, isNote) => {
    const { older, younger } = reader;
    const sure = younger.count > 0;
    let worst = older.count > 0 && older.max > reader.seen ? older.max : -1;
    if (sure && younger.max > worst) worst = younger.max;
    if (sure && !(isNote && younger.max < (RESOLUTION_MS + SMALL_DELAY_MS) * 1e6)) {
      reader.older = younger;
      reader.younger = older;
      older.reset();
    }
    reader.seen = reader.older.count > 0 ? reader.older.max : 0;
    return worst < 0 ? -1 : Math.max(0, worst / 1e6 - RESOLUTION_MS);
  };
  // A command may come in the middle of anything the app runs, Node's own lists of timers included, and what it begins
  // there would keep that request's asynchronous context.  So the first timer is set by a command that interrupts
  // nothing: one with no frames of the app under its own.  An app that is never found idle is asked each time.
  const interrupts = (command) => {
    const prepare = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
    const limit = Object.getOwnPropertyDescriptor(Error, 'stackTraceLimit');
    if (!limit || !('value' in limit) || (prepare && !('value' in prepare))) return true; // whoever sets them is told
    try {
      Error.stackTraceLimit = 3;
      Error.prepareStackTrace = (_, frames) => frames.length;
      const here = {};
      Error.captureStackTrace(here, command);
      return here.stack !== 1;
    } catch {
      return true; // frozen
    } finally {
      try {
        Error.stackTraceLimit = limit.value;
        if (prepare) Object.defineProperty(Error, 'prepareStackTrace', prepare);
        else delete Error.prepareStackTrace;
      } catch { /* nothing was changed */ }
    }
  };
  // Between two callbacks no frame is left, while a request's context may be (seen in microtasks).  What is made within
  // one has a property for it beside its numbers.
  const isInContext = () => {
    const made = new AsyncResource('pytest-memory', { requireManualDestroy: true });
    const symbols = Object.getOwnPropertySymbols(made);
    made.emitDestroy(); // who follows resources is to hear of its end
    return symbols.some((symbol) => !['number', 'undefined'].includes(typeof made[symbol]));
  };
  const beginNotes = (reader, command) => {
    const { notes } = reader;
    if (!notes || notes.begun || !reader.measures || interrupts(command) || isInContext()) return;
    notes.begun = true;
    awaitTick(notes, reader);
  };
  // The next note is due a moment before the reader's next tick; its ticks are known from when it last asked.
  const awaitTick = (notes, reader) => {
    const { intervalMs: every } = notes;
    const wait = every - (performance.now() - notes.tickAt + notes.before) % every;
    // One that comes a moment early, as timers may, is followed by that of the next tick.
    setTimeout(takeNote, Math.round(wait < every / 2 ? wait + every : wait), notes, reader).unref();
  };
  const takeNote = (notes, reader) => {
    notes.begun = reader.measures && reader.notes === notes;
    if (!notes.begun) return;
    try {
      if (performance.now() - notes.heardAt > LONGEST_SILENCE_MS || !isOpen(notes)) { endNotes(reader); return; }
      writeNote(notes, reader);
      awaitTick(notes, reader);
    } catch {
      endNotes(reader); // no descriptor is left to look at the sizes with, or the disk is full: it is asked again
    }
  };
  const writeNote = (notes, reader) => {
    const usage = memoryUsage();
    const { note } = notes;
    notes.written += 1;
    note[0] = note[NOTE_FIELDS - 1] = notes.written; // a note half overwritten while it is read does not begin as it ends
    note[1] = performance.now();
    note[2] = usage.heapUsed;
    note[3] = usage.heapTotal;
    note[4] = usage.external;
    note[5] = usage.arrayBuffers;
    note[6] = worstDelay(reader, true);
    writeSync(notes.file, note, 0, note.byteLength, (notes.written % NOTES) * note.byteLength);
  };
  // An app may close descriptors that are not its own; the number is that of a file of its own then.
  const isOpen = (notes) => {
    try {
      const { ino, dev } = fstatSync(notes.file);
      return ino === notes.ino && dev === notes.dev;
    } catch {
      return false;
    }
  };
  const openNotes = (path, every) => {
    if (!path) return null;
    try {
      const file = openSync(path, 'r+');
      const { ino, dev } = fstatSync(file);
      return {
        file, ino, dev, note: new Float64Array(NOTE_FIELDS), written: 0, begun: false, intervalMs: every,
        before: Math.min(NOTED_BEFORE_MS, every / 4), tickAt: performance.now(), heardAt: performance.now(),
      };
    } catch {
      return null; // another machine's or another user's file, or no permission
    }
  };
  const endNotes = (reader) => {
    const { notes } = reader;
    if (!notes) return;
    reader.notes = null;
    if (isOpen(notes)) closeSync(notes.file);
  };
  // Observers' entries and the histograms' timers keep a heap moving, and collections while it is settled are not the
  // app's: nothing runs while anybody has paused, or nobody listens.
  const update = () => {
    const now = performance.now();
    for (const [who, since] of pauses) if (now - since > LONGEST_PAUSE_MS) pauses.delete(who);
    for (const [who, reader] of readers) {
      if (reader.notes && !pauses.has(who) && now - reader.notes.heardAt > LONGEST_SILENCE_MS) endNotes(reader);
    }
    const listening = [...readers.values()].filter((reader) => reader.listens);
    const wanted = pauses.size === 0 && listening.length > 0;
    const observes = wanted && listening.some((reader) => reader.observes);
    if (observing && !observes) {
      keep(observer.takeRecords()); // what has not been delivered yet would be lost
      observer.disconnect();
    }
    if (!observing && observes) observer.observe({ entryTypes: ['gc'] });
    observing = observes;
    for (const reader of readers.values()) {
      const measures = wanted && reader.listens;
      if (measures === reader.measures) continue;
      reader.measures = measures;
      for (const histogram of [reader.older, reader.younger]) {
        if (measures) { histogram.enable(); continue; }
        histogram.disable();
        histogram.reset();
      }
      reader.seen = 0;
    }
  };
  const activeResources = process.getActiveResourcesInfo ? process.getActiveResourcesInfo.bind(process) : null;
  const memoryUsage = process.memoryUsage;
  // -> [now_ms, heapUsed, heapTotal, external, arrayBuffers, loop delay max in ms or -1, handles or -1,
  //     gc events dropped, then (start_ms, duration_ms, kind) of each GC event since the last reading]
  const take = (reader, withHandles) => {
    const usage = memoryUsage();
    const worst = worstDelay(reader, false);
    const out = [performance.now(), usage.heapUsed, usage.heapTotal, usage.external, usage.arrayBuffers, worst,
      withHandles && activeResources ? activeResources().length : -1, reader.dropped];
    for (let at = 0; at < reader.held * 3; at += 1) out.push(reader.ring[at]);
    reader.held = 0;
    reader.dropped = 0;
    return out;
  };
  const probe = {
    // A reader begins deaf: it hears from its first `resume` on.
    // -> [the origin of performance.now in ms of process.hrtime, which is the clock of traces; performance.now;
    //     whether there will be notes]
    join(who, path, every) {
      if (!readers.has(who)) {
        readers.set(who, {
          notes: null,
          ring: null, held: 0, dropped: 0, listens: false, observes: false, measures: false, seen: 0, resumed: 0,
          older: monitorEventLoopDelay({ resolution: RESOLUTION_MS }),
          younger: monitorEventLoopDelay({ resolution: RESOLUTION_MS }),
        });
      }
      const reader = readers.get(who);
      endNotes(reader); // of a connection before this one
      reader.notes = openNotes(path, every);
      const now = performance.now();
      return [Number(process.hrtime.bigint()) / 1e6 - now, now, reader.notes !== null];
    },
    // -> a reading; null while another settles the heap, for a reading leaves garbage; undefined for a stranger.
    read(who, withHandles) {
      const reader = readers.get(who);
      if (!reader) return undefined;
      if (pauses.size > 0) update();
      if (reader.notes) {
        reader.notes.tickAt = reader.notes.heardAt = performance.now();
        beginNotes(reader, probe.read);
      }
      return pauses.size > 0 && !pauses.has(who) ? null : take(reader, withHandles);
    },
    // Node hands collections to observers by an immediate: after two turns of its loop all that happened are in.
    turned() {
      return new Promise((done) => setImmediate(() => setImmediate(() => done(null))));
    },
    // -> a promise of a last reading: every collection before the pause is in it or in one before, none of those after.
    // A pause that comes only after its end (the loop was blocked) is none.
    pause(who, number) {
      return probe.turned().then(() => {
        const reader = readers.get(who);
        if (!reader) return undefined;
        if (number > reader.resumed) {
          pauses.set(who, performance.now());
          update();
        }
        return take(reader, false);
      });
    },
    // Who has V8 trace its collections has nothing observed.
    resume(who, number, observes) {
      const reader = readers.get(who);
      if (!reader) return;
      if (observes && !reader.ring) reader.ring = new Float64Array(CAPACITY * 3);
      reader.listens = true;
      reader.observes = observes;
      reader.resumed = Math.max(reader.resumed, number);
      pauses.delete(who);
      if (reader.notes) reader.notes.heardAt = performance.now();
      update();
      beginNotes(reader, probe.resume);
    },
    remove(who) {
      if (observing) keep(observer.takeRecords());
      const reader = readers.get(who);
      const last = reader && take(reader, false);
      pauses.delete(who);
      if (reader) {
        reader.listens = false;
        endNotes(reader);
      }
      update();
      readers.delete(who);
      if (readers.size === 0) delete globalThis[KEY];
      return last;
    },
  };
  Object.defineProperty(globalThis, KEY, { value: probe, configurable: true });
  return probe.join(token, notesPath, intervalMs);
})
