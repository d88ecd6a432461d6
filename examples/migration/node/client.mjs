// The official client, on whichever of the two servers listens there. It prints
// all that a client can see of a server, a line each, in an order that does not
// depend on chance: "name: what".
//
//   node client.mjs http://127.0.0.1:3000
//
// After "waiting: ready" it waits for the server to end.
import { Socket } from "engine.io-client";

const url = process.argv[2];
// The empty buffer is the last one: this client puts all that is behind one into one
// request, also when that is too large for the server.
const messages = [
  "hello", "", "Grüße, Ελληνικά, 😀", "x".repeat(50_000),
  Buffer.from(Array.from({ length: 256 }, (_, i) => i)), Buffer.alloc(50_000, "é"), Buffer.alloc(0),
];

// A Client prints what happens to one session of the official client.
class Client {
  constructor(name, transports, token = "secret") {
    this.print = (line) => console.log(`${name}: ${line}`);
    this.socket = new Socket(url, { transports, query: { name, token } });
    this.sent = [];
    this.welcomed = false;
    this.pings = 0;
    this.changed = () => {};
    const { socket } = this;
    socket.on("handshake", ({ sid, ...rest }) => this.print(`handshake ${JSON.stringify(rest)}`));
    socket.on("open", () => this.print(`open, ${socket.transport.name}`));
    socket.on("message", (data) => this.message(data));
    socket.on("ping", () => this.pings++);
    socket.on("error", (err) => {
      this.print(`error, ${err.message}, ${err.description?.message ?? err.description}, ${err.context?.responseText ?? ""}`);
    });
    socket.on("close", (reason, details) => {
      const code = details?.context?.code;
      this.print(`close, ${reason}${code ? `, code ${code}` : ""}`);
    });
    for (const event of ["message", "ping", "upgrade", "error", "close"]) socket.on(event, () => this.changed());
  }

  async until(done) {
    while (!done()) await new Promise((resolve) => { this.changed = resolve; });
  }

  opens() {
    return this.until(() => this.welcomed); // the first message comes with the handshake
  }

  ends() {
    return this.until(() => this.socket.readyState === "closed");
  }

  message(data = "") { // without data is undefined
    const kind = typeof data === "string" ? "text" : "binary";
    const want = this.welcomed && this.sent.shift();
    if (!this.welcomed) {
      this.welcomed = true;
      this.print(`message, ${kind} ${data}`);
    } else this.print(`echo, ${kind} of ${data.length}, ${Buffer.from(data).equals(Buffer.from(want ?? "")) ? "equal" : "changed"}`);
  }

  async echoes(...all) {
    for (const data of all) {
      this.sent.push(data);
      this.socket.send(data);
    }
    await this.until(() => this.sent.length === 0);
  }
}

async function echo(name, transports) {
  const c = new Client(name, transports);
  await c.opens();
  await c.echoes(...messages); // these meet the upgrade, if there is one
  if (transports.length > 1) {
    await c.until(() => c.socket.transport.name === "websocket");
    c.print("upgrade, websocket");
    await c.echoes(...messages);
  }
  await c.until(() => c.pings >= 2);
  c.print("pinged");
  c.socket.close();
  await c.ends();
}

// The server closes the session when it is told bye.
async function bye(name, transports) {
  const c = new Client(name, transports);
  await c.opens();
  await c.echoes("one");
  c.socket.send("bye");
  await c.ends();
}

// A message that is larger than the server takes.
async function big(name, transports) {
  const c = new Client(name, transports);
  await c.opens();
  c.socket.send("x".repeat(200_000));
  await c.ends();
}

async function refused(name, transports) {
  const c = new Client(name, transports, "guess");
  await c.ends();
}

// What no client of this library would ask for, by hand. An answer that is the text
// unsaid is not told.
async function ask(name, method, target, body, unsaid) {
  const response = await fetch(`${url}${target}`.replace("NAME", `name=${name}&token=secret`), { method, body });
  const text = await response.text();
  if (text === unsaid) return text;
  console.log(`${name}: ${method} ${target.replace(/sid=[\w-]+/, "sid=...")}, ${response.status} ${response.headers.get("content-type")}, ${text.replace(/"sid":"[\w-]+"/, (sid) => `a sid of ${sid.length - 8}`)}`);
  return text;
}

// A client that takes its ping and never answers.
async function silent(name) {
  const polling = "/engine.io/?EIO=4&transport=polling&NAME";
  const [, sid] = /"sid":"([\w-]+)"/.exec(await ask(name, "GET", polling));
  await ask(name, "GET", `${polling}&sid=${sid}`);
  // A server that was kept from its sockets pings again: what the client has said may be unread.
  while (await ask(name, "GET", `${polling}&sid=${sid}`, undefined, "2") === "2");
  await ask(name, "GET", `${polling}&sid=${sid}`);
}

async function wrong(name) {
  await ask(name, "GET", "/elsewhere");
  await ask(name, "GET", "/engine.io/?EIO=4&transport=pigeon&NAME");
  await ask(name, "GET", "/engine.io/?EIO=4&transport=polling&sid=unknown&NAME");
  await ask(name, "POST", "/engine.io/?EIO=4&transport=polling&NAME", "4hello");
  await ask(name, "GET", "/engine.io/?EIO=3&transport=polling&NAME");
  await ask(name, "GET", "/engine.io/?EIO=4&transport=websocket&NAME");
  const polling = "/engine.io/?EIO=4&transport=polling&NAME";
  const [, sid] = /"sid":"([\w-]+)"/.exec(await ask("garbage", "GET", polling));
  await ask("garbage", "POST", `${polling}&sid=${sid}`, "garbage");
}

await echo("polling", ["polling"]);
await echo("websocket", ["websocket"]);
await echo("upgrade", ["polling", "websocket"]);
await bye("bye-polling", ["polling"]);
await bye("bye-websocket", ["websocket"]);
await big("big-polling", ["polling"]);
await big("big-websocket", ["websocket"]);
await refused("refused-polling", ["polling"]);
await refused("refused-websocket", ["websocket"]);
await silent("silent");
await wrong("wrong");
const last = new Client("waiting", ["websocket"]);
await last.opens();
await last.echoes("still there?");
last.print("ready");
await last.ends();
