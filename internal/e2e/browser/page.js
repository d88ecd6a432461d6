// Runs two sessions of the browser build of engine.io-client against the server
// of ?server=, one that upgrades and one that only polls, and shows each step as
// a row. Both then stay open until the server closes them. With &foreign the
// sessions are one by WebSocket alone and one that polls, which end at once when
// the server does not want this page, and a script element asks for a third.
'use strict';

const parameters = new URLSearchParams(location.search);
const server = parameters.get('server');

// What browser.js waits for and reads.
window.sessions = {};
window.rows = []; // {session, step, result, note, failed}

const texts = ['hello', 'Grüße, Ελληνικά, Привет, 5 € 😀', 'é€😀'.repeat(10_000)];
const binaries = [
  Uint8Array.from({ length: 256 }, (_, i) => i),
  new Uint8Array(0),
  Uint8Array.from({ length: 100_000 }, (_, i) => (i * 31) >> 3),
];
const messages = texts.concat(binaries);

class Session {
  constructor(name, options) {
    this.name = name;
    this.sent = [];
    this.received = 0;
    this.equal = { text: 0, binary: 0 };
    this.pings = 0;
    this.ready = false; // all steps are done and it waits for the server's close
    this.closed = false;
    this.failure = '';
    this.waiting = []; // {done: () => bool, resolve}
    this.begin = performance.now();

    const section = document.querySelector('main').appendChild(document.createElement('section'));
    section.innerHTML = `<h2>Session “${name}”: transports ${options.transports.join(', ')}</h2>
      <table><tr><th>ms<th>step<th>result<th></tr></table>`;
    this.table = section.querySelector('table');

    this.socket = eio(server, { ...options, query: { session: name } });
    this.socket.on('message', (data) => this.message(data));
    this.socket.on('ping', () => this.pings++);
    this.socket.on('upgradeError', (err) => this.fail(`the upgrade failed: ${err.message}`));
    this.socket.on('error', (err) => this.fail(`${err.message}: ${err.description}`));
    this.socket.on('close', (reason, details) => {
      const { description = '', context } = details || {};
      this.row('close', reason, description + (context && context.code ? `, code ${context.code}` : ''));
      // A server that died gives a WebSocket the same reason as one that drains.
      if (context && context.wasClean === false) this.fail('the WebSocket ended without a close frame');
      if (!this.ready) this.fail('closed too early');
      if (this.received !== this.sent.length) this.fail(`${this.received} of ${this.sent.length} messages came back`);
      this.closed = true;
    });
    for (const event of ['open', 'upgrade', 'message', 'ping']) this.socket.on(event, () => this.wake());
  }

  async run() {
    await this.until(() => this.socket.readyState === 'open');
    this.row('open', this.socket.transport.name, `session ${this.socket.id}`);
    if (this.name === 'upgrade') {
      this.send(); // these meet the upgrade
      await this.until(() => this.socket.transport.name === 'websocket');
      this.row('upgrade', 'websocket');
      await this.echoed('sent when open');
      this.send();
      await this.echoed('sent over websocket');
    } else {
      this.send();
      await this.echoed(`sent over ${this.socket.transport.name}`);
    }
    await this.until(() => this.pings >= 3);
    this.row('pinged', '3 times');
    this.row('transport', this.socket.transport.name, 'stays open until the server closes it');
    this.ready = true;
  }

  send() {
    this.equal = { text: 0, binary: 0 };
    for (const m of messages) {
      this.sent.push(m);
      this.socket.send(m);
    }
  }

  async echoed(when) {
    await this.until(() => this.received === this.sent.length);
    const { text, binary } = this.equal;
    const sum = (all, size) => all.map(size).join(' + ');
    this.row('text', `${text} of ${texts.length} equal`, `${when}: ${sum(texts, (m) => m.length)} characters, “${texts[1]}”`);
    this.row('binary', `${binary} of ${binaries.length} equal`, `${when}: ${sum(binaries, (m) => m.length)} bytes`);
  }

  message(data) {
    const at = this.received++;
    if (at >= this.sent.length) return this.fail(`message ${at} was never sent`);
    if (!same(this.sent[at], data)) return this.fail(`message ${at} came back changed or out of order`);
    this.equal[typeof data === 'string' ? 'text' : 'binary']++;
  }

  // until waits with no limit of its own: browser.js has one for everything.
  until(done) {
    return new Promise((resolve) => {
      this.waiting.push({ done, resolve });
      this.wake();
    });
  }

  wake() {
    this.waiting = this.waiting.filter((w) => !w.done() || w.resolve());
  }

  fail(reason) {
    this.failure ||= reason;
    this.row('failed', reason, '', true);
  }

  row(step, result, note = '', failed = false) {
    window.rows.push({ session: this.name, step, result, note, failed });
    const row = this.table.insertRow();
    row.className = failed ? 'failed' : '';
    for (const cell of [Math.round(performance.now() - this.begin), step, result, note]) {
      row.insertCell().textContent = cell;
    }
  }
}

function same(want, got) {
  if (typeof want === 'string') return want === got;
  if (!(got instanceof ArrayBuffer) || got.byteLength !== want.length) return false;
  const bytes = new Uint8Array(got);
  return want.every((b, i) => b === bytes[i]);
}

document.querySelector('#where').textContent = `Page from ${location.origin}, server at ${server}`;
document.querySelector('#agent').textContent = navigator.userAgent;
const sessions = parameters.has('foreign')
  ? [['websocket', ['websocket']], ['polling', ['polling']]]
  : [['upgrade', ['polling', 'websocket']], ['polling', ['polling']]];
for (const [name, transports] of sessions) {
  window.sessions[name] = new Session(name, { transports });
  window.sessions[name].run();
}

// JSONP: the answer to a script element is a call of ___eio[0].
if (parameters.has('foreign')) {
  const session = { name: 'script', ready: false, closed: false, failure: '' };
  window.sessions.script = session;
  const end = (result) => {
    if (session.ready) return;
    session.ready = session.closed = true;
    window.rows.push({ session: 'script', step: 'jsonp', result, note: '', failed: false });
  };
  window.___eio = [() => end('read')];
  const script = document.createElement('script');
  script.onload = () => end('not called');
  script.onerror = () => end('refused');
  script.src = `${server}/engine.io/?EIO=4&transport=polling&j=0`;
  document.head.append(script);
}
