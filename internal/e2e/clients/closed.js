// Has the official clients ask testapp to close their sessions with a code and a
// reason, on each transport, and prints what each of them is told: a line of JSON.
//
//   node closed.js --url http://127.0.0.1:3000
//
// The exit code is 0 when all have closed, 1 after an error or 30 seconds.
'use strict';

const clients = { 6: 'engine.io-client-6', 3: 'engine.io-client-3', 1: 'engine.io-client-1' };
const transports = { polling: ['polling'], websocket: ['websocket'], upgrade: ['polling', 'websocket'] };

// closed resolves with what a client hears before and at its close. details is what
// engine.io-client 6 hands to the listener; older clients have nothing there.
function closed(client, transport, url) {
  const library = require(clients[client]);
  const make = library.Socket ? (u, o) => new library.Socket(u, o) : library;
  return new Promise((resolve, reject) => {
    const told = { client, transport, messages: [] };
    const socket = make(url, { transports: transports[transport], query: { token: 'secret' } });
    socket.on(transport === 'upgrade' ? 'upgrade' : 'open', () => socket.send('close 4001 logged out, tschüß'));
    socket.on('message', (data) => told.messages.push(data));
    socket.on('error', reject);
    socket.on('close', (reason, details) => {
      told.reason = reason;
      if (details) {
        const context = details.context;
        told.details = { description: details.description, context: context && { code: context.code, reason: context.reason } };
      }
      resolve(told);
    });
  });
}

async function main(url) {
  for (const client of Object.keys(clients)) {
    for (const transport of Object.keys(transports)) console.log(JSON.stringify(await closed(client, transport, url)));
  }
}

function end(code, problem) {
  if (problem) console.error(`closed.js: ${problem}`);
  process.exit(code);
}

if (process.argv[2] !== '--url' || !process.argv[3]) end(1, '--url is missing');
setTimeout(() => end(1, 'no end after 30 s'), 30000);
main(process.argv[3]).then(() => end(0), (err) => end(1, err.stack || err));
