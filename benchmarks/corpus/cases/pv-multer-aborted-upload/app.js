'use strict';
/**
 * An upload form on disk storage; each request sends one file, and one visitor in ten closes the tab half-way.
 * Leaky (multer 2.1.1): an aborted upload leaves its file open.
 */
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const express = require('express');
const { announce, leaky } = require('../../serve');
const multer = require(leaky ? 'multer-leaky' : 'multer-fixed');

const BOUNDARY = 'corpus-boundary';
const HEAD = `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n`;
const CONTENT = 'x'.repeat(8 * 1024);
const TAIL = `\r\n--${BOUNDARY}--\r\n`;

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'corpus-multer-'));
process.on('exit', () => fs.rmSync(directory, { recursive: true, force: true }));
process.once('SIGTERM', () => process.exit(0)); // a default SIGTERM would skip the line above
let uploads = 0;

/** Send a file to this server's own form; `cut` closes the connection after half of it. */
function upload(port, cut) {
  return new Promise((resolve) => {
    const headers = {
      'content-type': `multipart/form-data; boundary=${BOUNDARY}`,
      'content-length': HEAD.length + CONTENT.length + TAIL.length,
    };
    const request = http.request({ host: '127.0.0.1', port, path: '/upload', method: 'POST', headers });
    request.on('response', (response) => response.resume().on('end', () => resolve('stored')));
    request.on('error', () => resolve('cut off'));
    request.write(HEAD + CONTENT.slice(0, CONTENT.length / 2));
    if (cut) setTimeout(() => request.destroy(), 10);
    else request.end(CONTENT.slice(CONTENT.length / 2) + TAIL);
  });
}

const form = multer({ storage: multer.diskStorage({ destination: directory }) });
const app = express();
app.get('/health', (req, res) => res.send('ok'));
app.post('/upload', form.single('file'), (req, res) => fs.unlink(req.file.path, () => res.send('ok')));
app.get('/work', async (req, res) => res.send(await upload(server.address().port, ++uploads % 10 === 0)));
app.use((error, req, res, next) => (res.headersSent ? next(error) : res.status(400).end()));
const server = app.listen(Number(process.env.PORT), '127.0.0.1', announce);
