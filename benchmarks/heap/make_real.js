// Loads a real program, lets it work, and writes one snapshot of its heap.
// usage: node make_real.js OUT.heapsnapshot typescript|webpack|jsdom MODULES_DIR
'use strict';
const fs = require('fs');
const path = require('path');
const v8 = require('v8');
const inspector = require('inspector');

const [out, what, modules] = process.argv.slice(2);
const load = (name) => require(require.resolve(name, { paths: [modules] }));

const makers = {
  // A program over the compiler's own declaration files, bound and checked: symbols, types, syntax trees.
  typescript() {
    const ts = load('typescript');
    const lib = path.dirname(require.resolve('typescript', { paths: [modules] }));
    const files = [path.join(lib, 'typescript.d.ts')];
    const program = ts.createProgram(files, { noEmit: true, lib: ['lib.esnext.full.d.ts'].map((f) => path.join(lib, f)) });
    program.getSemanticDiagnostics();
    return Promise.resolve(program);
  },
  // A compilation kept with its module graph, sources and stats.
  webpack() {
    const webpack = load('webpack');
    const entry = ['typescript', 'jsdom'].map((m) => require.resolve(m, { paths: [modules] }));
    const compiler = webpack({ mode: 'development', target: 'node', context: modules, entry, devtool: 'source-map',
      output: { path: path.join(modules, '.webpack-out') } });
    return new Promise((resolve, reject) => compiler.run((error, stats) => (error ? reject(error) : resolve([compiler, stats, stats.toJson({ all: true })]))));
  },
  jsdom() {
    const { JSDOM } = load('jsdom');
    const row = '<li class="row" id="r"><a href="#x">text</a><span>more</span></li>';
    const windows = [];
    for (let i = 0; i < 25; i++) windows.push(new JSDOM('<body><ul>' + row.repeat(400) + '</ul></body>', { url: 'http://x.test/' + i }));
    return Promise.resolve(windows);
  },
};

// Node < 22 looks for line ends once per function when none are known: quadratic, minutes for one big script.
// A debugger that comes and goes computes them once.
function learnLineEnds() {
  const session = new inspector.Session();
  session.connect();
  session.post('Debugger.enable');
  session.post('Debugger.disable');
  session.disconnect();
}

makers[what]().then((kept) => {
  globalThis.kept = kept;
  learnLineEnds();
  v8.writeHeapSnapshot(out);
}).catch((error) => { fs.writeSync(2, String(error && error.stack) + '\n'); process.exit(1); });
