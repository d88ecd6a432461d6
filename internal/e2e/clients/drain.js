// Opens sessions of the official clients on a server that sends numbered
// messages, and waits until the server has closed them all.
//
//   node drain.js --url http://127.0.0.1:3000 --each 4
//
// That many sessions of each client and transport. It prints "opened" when all
// are open, and for each that has ended a line of JSON: its id, the client and
// transport, how many messages came, whether they were numbered from 0 without a
// gap, and the reason that the client gives. The exit code is 0 when all have
// ended, 1 when not within two minutes or when one could not be opened.
'use strict';

const libraries = { 6: 'engine.io-client-6', 3: 'engine.io-client-3', 1: 'engine.io-client-1' };
const transports = ['polling', 'websocket', 'upgrade'];

function open(client, transport, url) {
  const library = require(libraries[client]);
  const socket = library.Socket
    ? new library.Socket(url, settings(transport))
    : library(url, settings(transport));
  const record = { client, transport, received: 0, inOrder: true };
  const ended = new Promise((resolve) => {
    socket.on('message', (data) => {
      if (!data.startsWith(`${record.received} `)) record.inOrder = false;
      record.received++;
    });
    socket.on('error', (err) => { record.error = String(err && (err.message || err)); });
    socket.on('close', (reason) => {
      console.log(JSON.stringify({ ...record, reason }));
      resolve();
    });
  });
  const opened = new Promise((resolve, reject) => {
    const done = () => { record.sid = socket.id; resolve(); };
    socket.on(transport === 'upgrade' ? 'upgrade' : 'open', done);
    socket.on('close', (reason) => reject(new Error(`closed before it was open: ${reason} ${record.error}`)));
  });
  return { opened, ended };
}

function settings(transport) {
  return {
    transports: transport === 'upgrade' ? ['polling', 'websocket'] : [transport],
    upgrade: transport === 'upgrade',
  };
}

async function main() {
  const args = process.argv.slice(2);
  const option = (name) => args[args.indexOf(name) + 1];
  const sessions = [];
  for (const client of Object.keys(libraries)) {
    for (const transport of transports) {
      for (let i = 0; i < Number(option('--each')); i++) sessions.push(open(client, transport, option('--url')));
    }
  }
  for (const s of sessions) s.opened.catch(() => {}); // the first one is reported
  await Promise.all(sessions.map((s) => s.opened));
  console.log('opened');
  await Promise.all(sessions.map((s) => s.ended));
}

setTimeout(() => {
  console.log('timeout');
  process.exit(1);
}, 120_000).unref();

main().then(() => process.exit(0), (err) => {
  console.log(`failed ${err.stack}`);
  process.exit(1);
});
