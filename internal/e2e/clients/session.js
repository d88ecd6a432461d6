// One session of any of the three clients, with the record of what it sent and got back.
'use strict';

class Session {
  constructor(library, url, transport, extra) {
    this.transport = transport;
    this.sent = [];
    this.received = 0;
    this.upgradedAt = -1; // messages sent when the upgrade was done
    this.beats = 0;
    this.finished = false;
    this.closing = false;
    this.failure = null;
    this.waiting = []; // {done: () => bool, resolve, reject}

    const socket = library.Socket ? (u, o) => new library.Socket(u, o) : library;
    this.socket = socket(url, {
      transports: transport === 'upgrade' ? ['polling', 'websocket'] : [transport],
      upgrade: transport === 'upgrade',
      ...extra,
    });
    this.socket.on('message', (data) => this.message(data));
    this.socket.on('upgrade', () => {
      this.upgradedAt = this.sent.length;
      if (transport !== 'upgrade') this.fail(`the transport changed to ${this.socket.transport.name}`);
      this.wake();
    });
    this.socket.on('upgradeError', (err) => this.fail(`the upgrade failed: ${describe(err)}`));
    this.socket.on('error', (err) => this.fail(`client error: ${describe(err)}`));
    // Revision 4 clients are pinged, revision 3 clients ping and get a pong.
    const protocol = library.protocol;
    this.socket.on(protocol === 4 ? 'ping' : 'pong', () => {
      this.beats++;
      this.wake();
    });
    this.socket.on('close', (reason, err) => {
      this.finished = true;
      if (!this.closing || reason !== 'forced close') {
        this.fail(`closed: ${reason}${err ? ` (${describe(err)})` : ''}`);
      }
      this.wake();
    });
  }

  // opened resolves with the session; sending can start in the same turn as the open event.
  opened() {
    return new Promise((resolve, reject) => {
      this.socket.on('open', () => {
        const first = this.transport === 'websocket' ? 'websocket' : 'polling';
        const name = this.socket.transport.name;
        if (name !== first) reject(new Error(`opened over ${name}, not ${first}`));
        resolve(this);
      });
      this.until(() => false).catch(reject);
    });
  }

  send(...all) {
    for (const m of all) {
      this.sent.push(m);
      this.socket.send(m);
    }
  }

  // echoed waits until all that was sent has come back.
  echoed() {
    return this.until(() => this.received === this.sent.length);
  }

  roundTrip(all) {
    this.send(...all);
    return this.echoed();
  }

  // settled waits until the transport is the one asked for.
  settled() {
    return this.until(() => this.transport !== 'upgrade' || this.upgradedAt >= 0);
  }

  heartbeats(count) {
    return this.until(() => this.beats >= count);
  }

  // finish sends one last message, so that a message that came twice is seen before the close, and closes.
  async finish() {
    await this.roundTrip(['last']);
    const last = this.transport === 'polling' ? 'polling' : 'websocket';
    const name = this.socket.transport.name;
    if (name !== last) throw new Error(`ended over ${name}, not ${last}`);
    this.closing = true;
    this.socket.close();
    await this.until(() => this.finished);
  }

  abandon() {
    this.closing = true;
    this.socket.close();
  }

  message(data) {
    const at = this.received++;
    if (at >= this.sent.length) {
      this.fail(`message ${at} was never sent: ${show(data)}`);
    } else if (!same(this.sent[at], data)) {
      this.fail(`message ${at} of ${this.sent.length}: ${difference(this.sent[at], data)}`);
    }
    this.wake();
  }

  fail(reason) {
    this.failure ||= new Error(`${reason} [${this}]`);
    this.wake();
  }

  until(done) {
    return new Promise((resolve, reject) => {
      this.waiting.push({ done, resolve, reject });
      this.wake();
    });
  }

  wake() {
    this.waiting = this.waiting.filter((w) => {
      if (this.failure) w.reject(this.failure);
      else if (w.done()) w.resolve();
      else return true;
      return false;
    });
  }

  toString() {
    const name = this.socket && this.socket.transport ? this.socket.transport.name : 'no transport';
    return `sent ${this.sent.length}, back ${this.received}, ${name}, ${this.socket && this.socket.readyState}`;
  }
}

function same(want, got) {
  if (typeof want === 'string') return want === got;
  const b = bytes(got);
  return b !== null && want.equals(b);
}

// bytes returns any of the forms the clients give binary in as a Buffer, or null.
function bytes(data) {
  if (Buffer.isBuffer(data)) return data;
  if (data instanceof ArrayBuffer) return Buffer.from(data);
  if (ArrayBuffer.isView(data)) return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return null;
}

function difference(want, got) {
  const a = typeof want === 'string' ? want : [...want];
  const b = typeof got === 'string' ? got : [...(bytes(got) || [])];
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return `want ${show(want)}, got ${show(got)}, first difference at ${i}`;
}

function show(data) {
  if (typeof data === 'string') return `text of ${data.length} ${JSON.stringify(data.slice(0, 40))}`;
  const b = bytes(data);
  return b ? `binary of ${b.length} ${b.subarray(0, 20).toString('hex')}` : String(data);
}

function describe(err) {
  if (!err) return String(err);
  const inner = err.description && (err.description.message || err.description.status || err.description);
  const outer = err.message || (typeof err === 'string' ? err : '');
  return [outer, typeof inner === 'object' ? '' : inner].filter(Boolean).join(': ') || 'no details';
}

module.exports = { Session };
