// Runs engine.io-client 6 once where it has to be patient, and prints one line.
//
//   node patient.js --url http://127.0.0.1:3000 --case withheld
//     The server's side of the WebSocket is withheld behind the 101: the client polls on until the
//     upgrade has failed, and its session goes on by polling.
//   node patient.js --url http://127.0.0.1:3000 --case blocked --transport polling|websocket
//     The server is testapp, blocking: a session hears eight pings while a message of its own blocks
//     the application, and gets all of its messages once another session has released it.
//   [--timeout 60]
//
// The exit code is 0 when all was as said, 1 when not, 2 for a wrong command line.
'use strict';

const library = require('engine.io-client-6');
const { Session } = require('./session');

async function blocked({ url, transport }) {
  const extra = { query: { token: 'secret' } };
  const s = await new Session(library, url, transport, extra).opened();
  s.send('block', 'after');
  const before = s.beats;
  await s.heartbeats(before + 8);
  if (s.received > 0) throw new Error('the application was not blocked');
  const other = await new Session(library, url, 'polling', extra).opened();
  other.send('release');
  await other.finish();
  await s.finish();
  return `${s.beats} pings`;
}

function withheld({ url }) {
  return new Promise((resolve, reject) => {
    const socket = new library.Socket(url, { transports: ['polling', 'websocket'] });
    socket.on('upgrade', () => reject(new Error('upgraded')));
    socket.on('upgradeError', () => socket.send('still here'));
    socket.on('message', (data) => {
      if (data !== 'still here') reject(new Error(`got ${data}`));
      socket.close();
    });
    socket.on('close', (reason) => {
      if (reason === 'forced close') resolve('upgrade given up');
      else reject(new Error(`closed: ${reason}`));
    });
  });
}

const cases = { blocked, withheld };

const options = { timeout: '60' };
const args = process.argv.slice(2);
for (let i = 0; i < args.length; i += 2) options[args[i].replace(/^--/, '')] = args[i + 1];
if (!options.url || !cases[options.case]) {
  console.error('wrong command line');
  process.exit(2);
}
setTimeout(() => {
  console.log('FAIL timeout');
  process.exit(1);
}, Number(options.timeout) * 1000);
cases[options.case](options).then(
  (result) => {
    console.log(`ok ${options.case}: ${result}`);
    process.exit(0);
  },
  (err) => {
    console.log(`FAIL ${options.case}: ${err.message}`);
    process.exit(1);
  },
);
