// Runs official Engine.IO clients through one or all scenarios against an echo
// server that already listens, and prints one line per scenario and client. More
// than one client or transport, with commas between them, run at the same time.
//
//   node scenario.js --url http://127.0.0.1:3000 --client 6|3|1[,...]
//     --transport polling|websocket|upgrade[,...]
//     --scenario text|binary|mixed|large|during-upgrade|fifty|heartbeat|all
//     [--timeout 60]
//     [--cookie name=value]  sent with every request
//
// A scenario passes when every message came back once, in order and unchanged,
// the transport was the one asked for, and the session ended by our own close.
// The exit code is 0 when all passed, 1 when one failed, 2 for a wrong command line.
'use strict';

const http = require('http');
const https = require('https');
const messages = require('./messages');
const { Session } = require('./session');

const transports = ['polling', 'websocket', 'upgrade'];
const clients = { 6: 'engine.io-client-6', 3: 'engine.io-client-3', 1: 'engine.io-client-1' };

const scenarios = {
  // Every message as soon as the session is open, so that they share payloads: T176, T177.
  text: (run) => together(run, messages.texts()),
  binary: (run) => together(run, messages.binaries()),
  mixed: (run) => together(run, messages.mixed()),

  // One at a time: two of these in one post would be over the server's limit.
  // In upgrade, one goes while the upgrade happens and the others after it.
  large: async (run) => {
    const s = await run.open();
    const [first, ...rest] = messages.large(run.client, run.transport);
    await s.roundTrip([first]);
    await s.settled();
    for (const m of rest) await s.roundTrip([m]);
    await s.finish();
    return `${s.sent.length} messages`;
  },

  // Small bursts from the moment of open, T199. The last hundred wait for the upgrade,
  // so both sides of the switch are certain to carry some.
  'during-upgrade': async (run) => {
    const s = await run.open();
    const all = messages.numbered(500, 'n');
    for (let i = 0; i < 400; i += 5) {
      s.send(...all.slice(i, i + 5));
      await pause(2);
    }
    const before = s.upgradedAt;
    await s.settled();
    s.send(...all.slice(400));
    await s.finish();
    if (run.transport !== 'upgrade') return '500 messages';
    if (s.upgradedAt === 0) throw new Error('the upgrade was over before the first message was sent');
    return `500 messages, upgraded after ${before < 0 ? 400 : before}`;
  },

  // Fifty sessions over kept-alive connections, where the others use a new one per request.
  fifty: async (run) => {
    const agent = new (run.url.startsWith('https:') ? https : http).Agent({ keepAlive: true });
    try {
      await Promise.all(Array.from({ length: 50 }, async (_, i) => {
        const s = await run.open({ agent });
        const all = messages.numbered(20, `client ${i}`);
        s.send(...all.slice(0, 10));
        await s.settled();
        s.send(...all.slice(10));
        await s.finish();
      }));
    } finally {
      agent.destroy();
    }
    return '50 clients, 1000 messages';
  },

  // Not part of "all": it wants a server with a short ping interval.
  heartbeat: async (run) => {
    const s = await run.open();
    await s.settled();
    await s.heartbeats(7);
    await s.roundTrip([messages.numbered(1, 'alive')[0]]);
    await s.finish();
    return '7 heartbeats';
  },
};

// together sends half of the messages while the upgrade happens and all of them after it.
async function together(run, all) {
  const s = await run.open();
  s.send(...messages.early(run.client, run.transport, all.slice(0, all.length / 2)));
  await s.settled();
  s.send(...all);
  await s.finish();
  return `${s.sent.length} messages`;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// A Run opens sessions for one scenario and knows how to end what is left of it.
class Run {
  constructor(options) {
    this.url = options.url;
    this.client = options.client;
    this.transport = options.transport;
    this.library = require(clients[options.client]);
    this.extra = options.cookie ? { extraHeaders: { Cookie: options.cookie } } : {};
    this.sessions = [];
  }

  open(extra) {
    const s = new Session(this.library, this.url, this.transport, { ...this.extra, ...extra });
    this.sessions.push(s);
    return s.opened();
  }

  abandon() {
    for (const s of this.sessions) s.abandon();
  }

  // The states of the sessions that did not end, for the message of a timeout.
  unfinished() {
    const left = this.sessions.filter((s) => !s.finished);
    return `${left.length} of ${this.sessions.length} sessions unfinished` + (left.length ? `, first: ${left[0]}` : '');
  }
}

async function runOne(name, options) {
  const run = new Run(options);
  const label = `client ${options.client} ${options.transport} ${name}`;
  const start = Date.now();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no end after ${options.timeout} s: ${run.unfinished()}`)),
      options.timeout * 1000,
    );
  });
  try {
    const summary = await Promise.race([scenarios[name](run), late]);
    console.log(`ok      ${label}: ${summary}, ${Date.now() - start} ms`);
    return true;
  } catch (err) {
    console.log(`failed  ${label}: ${err.message}`);
    run.abandon();
    return false;
  } finally {
    clearTimeout(timer);
  }
}

function commandLine(argv) {
  const options = { timeout: '60' };
  for (let i = 0; i < argv.length; i += 2) {
    if (!argv[i].startsWith('--') || argv[i + 1] === undefined) usage(`cannot read ${argv[i]}`);
    options[argv[i].slice(2)] = argv[i + 1];
  }
  if (!options.url) usage('--url is missing');
  options.runs = (options.client || '').split(',').flatMap((client) => {
    if (!Object.hasOwn(clients, client)) usage('--client is 6, 3 or 1');
    return (options.transport || '').split(',').map((transport) => {
      if (!transports.includes(transport)) usage(`--transport is one of ${transports}`);
      return { client, transport };
    });
  });
  if (options.scenario !== 'all' && !Object.hasOwn(scenarios, options.scenario)) {
    usage(`--scenario is all or one of ${Object.keys(scenarios)}`);
  }
  options.timeout = Number(options.timeout);
  if (!(options.timeout > 0)) usage('--timeout is a number of seconds');
  return options;
}

function usage(problem) {
  console.error(`scenario.js: ${problem}`);
  process.exit(2);
}

async function main() {
  const options = commandLine(process.argv.slice(2));
  const names = options.scenario === 'all'
    ? Object.keys(scenarios).filter((name) => name !== 'heartbeat')
    : [options.scenario];
  let failed = 0;
  for (const name of names) {
    const passed = await Promise.all(options.runs.map((run) => runOne(name, { ...options, ...run })));
    failed += passed.filter((ok) => !ok).length;
  }
  // A client may hold sockets or timers after close; they are not what is tested.
  process.exit(failed ? 1 : 0);
}

process.on('uncaughtException', (err) => {
  console.log(`failed  uncaught: ${err.stack}`);
  process.exit(1);
});
process.on('unhandledRejection', (err) => {
  console.log(`failed  unhandled: ${err && err.stack}`);
  process.exit(1);
});

main();
