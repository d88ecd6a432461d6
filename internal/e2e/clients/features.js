// Runs one official Engine.IO client once against an echo server that has
// special options, and prints one line.
//
//   node features.js --url http://127.0.0.1:3000 --client 6|3|1
//     --transport polling|websocket|upgrade
//     [--path /engine.io] [--query name=value]
//     [--first TEXT]       the session's first message, before any echo
//     [--extension NAME]   what the WebSocket must have negotiated
//     [--refused yes]      the session must not open
//     [--timeout 30]
//
// It passes when all is as said, every message came back once, in order and
// unchanged, and the session ended by our own close. The exit code is 0 when it
// passed, 1 when it failed, 2 for a wrong command line.
'use strict';

const messages = require('./messages');
const { Session } = require('./session');

const clients = { 6: 'engine.io-client-6', 3: 'engine.io-client-3', 1: 'engine.io-client-1' };

// A Featured session expects a message that nobody sent in front of the echoes.
class Featured extends Session {
  message(data) {
    if (this.first !== undefined) {
      if (data !== this.first) this.fail(`the first message is ${JSON.stringify(data)}`);
      this.first = undefined;
      this.wake();
      return;
    }
    super.message(data);
  }

  greeted() {
    return this.until(() => this.first === undefined);
  }
}

async function talk(library, options, extra) {
  const s = new Featured(library, options.url, options.transport, extra);
  s.first = options.first;
  await s.opened();
  await s.greeted();
  await s.settled();
  if (options.extension) {
    const names = extensions(s.socket.transport.ws);
    if (!names.includes(options.extension)) throw new Error(`the WebSocket has the extensions [${names}]`);
  }
  // Small and large, all kinds of characters and binary, what compresses well and what does not.
  s.send(...messages.mixed(), ...messages.numbered(5, 'much the same '.repeat(500)));
  await s.finish();
  return `${s.sent.length} messages`;
}

// extensions are the names of those a WebSocket has: a string in new versions of
// ws, an object in old ones.
function extensions(ws) {
  if (typeof ws.extensions === 'string') return ws.extensions.split(',').map((e) => e.split(';')[0].trim());
  return Object.keys(ws.extensions || {});
}

function refused(library, options, extra) {
  const make = library.Socket ? (u, o) => new library.Socket(u, o) : library;
  const socket = make(options.url, extra);
  return new Promise((resolve, reject) => {
    socket.on('open', () => reject(new Error('the session opened')));
    socket.on('error', (err) => resolve(`refused: ${err.message || err}`));
  });
}

function commandLine(argv) {
  const options = { timeout: '30' };
  for (let i = 0; i < argv.length; i += 2) {
    if (!argv[i].startsWith('--') || argv[i + 1] === undefined) usage(`cannot read ${argv[i]}`);
    options[argv[i].slice(2)] = argv[i + 1];
  }
  if (!options.url) usage('--url is missing');
  if (!Object.hasOwn(clients, options.client)) usage('--client is 6, 3 or 1');
  if (!['polling', 'websocket', 'upgrade'].includes(options.transport)) usage('--transport is missing');
  return options;
}

function usage(problem) {
  console.error(`features.js: ${problem}`);
  process.exit(2);
}

async function main() {
  const options = commandLine(process.argv.slice(2));
  const label = `client ${options.client} ${options.transport}`;
  const extra = {
    transports: options.transport === 'upgrade' ? ['polling', 'websocket'] : [options.transport],
    upgrade: options.transport === 'upgrade',
  };
  if (options.path) extra.path = options.path;
  if (options.query) extra.query = Object.fromEntries(new URLSearchParams(options.query));
  if (options.extension) extra.perMessageDeflate = { threshold: 1024 };
  const late = setTimeout(() => end(1, `failed  ${label}: no end after ${options.timeout} s`), options.timeout * 1000);
  try {
    const summary = await (options.refused ? refused : talk)(require(clients[options.client]), options, extra);
    clearTimeout(late);
    end(0, `ok      ${label}: ${summary}`);
  } catch (err) {
    end(1, `failed  ${label}: ${err.message}`);
  }
}

// end does not wait for sockets and timers that a client holds after close.
function end(code, line) {
  console.log(line);
  process.exit(code);
}

process.on('uncaughtException', (err) => end(1, `failed  uncaught: ${err.stack}`));
process.on('unhandledRejection', (err) => end(1, `failed  unhandled: ${err && err.stack}`));

main();
