// An echo server as it was before: main.go beside this folder does the same, and
// its comments say which of these lines became which of those.
//
//   npm ci && node server.mjs --port 3000
import { parseArgs } from "node:util";
import { listen } from "engine.io";

const { values: flags } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    port: { type: "string", default: "3000" },
    "ping-interval": { type: "string", default: "25000" },
    "ping-timeout": { type: "string", default: "20000" },
  },
});

const address = { host: flags.host, port: Number(flags.port) };
const server = listen(address, {
  pingInterval: Number(flags["ping-interval"]),
  pingTimeout: Number(flags["ping-timeout"]),
  maxHttpBufferSize: 1e5,
  initialPacket: "welcome",
  allowRequest: (request, callback) => {
    if (request._query.token === "secret") callback(null, true);
    else callback("wrong token", false);
  },
}, () => {
  const { address, port } = server.httpServer.address();
  console.log(`listening on http://${address}:${port}`);
});

server.on("connection", (socket) => {
  const { name } = socket.request._query;
  console.log(`${name}: open, revision ${socket.protocol}, ${socket.transport.name}`);
  socket.on("upgrade", () => console.log(`${name}: upgrade, ${socket.transport.name}`));
  socket.on("message", (data) => {
    if (data === "bye") socket.close();
    else socket.send(data);
  });
  socket.on("close", (reason) => console.log(`${name}: close, ${reason}`));
});

server.on("connection_error", ({ req, code, message }) => {
  console.log(`${req._query.name}: refused, ${code} ${message}`);
});

process.on("SIGTERM", () => {
  server.close();
  server.httpServer.close(() => process.exit()); // timers of closed sessions go on for 30 seconds
});
