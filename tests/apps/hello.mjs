// hello.js as an ES module with a top-level await: `require` does not exist in its scope.
import http from 'node:http';
await Promise.resolve();
http.createServer((req, res) => res.end('hello\n')).listen(Number(process.env.PORT));
