// engine.io on Node.js: echo, or broadcast in a loop over all clients.
// https://socket.io/docs/v4/performance-tuning advises ws's add-on bufferutil, which is
// installed, and names eiows in the place of ws, which is another server.
import cluster from "node:cluster";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { attach } from "engine.io";

const { PORT, APP, PING_INTERVAL, PING_TIMEOUT, WORK, WORKERS, TLS_CERT, TLS_KEY } = process.env;
const http = TLS_CERT ? createSecureServer({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) }) : createServer();
const engine = attach(http, {
  pingInterval: Number(PING_INTERVAL),
  pingTimeout: Number(PING_TIMEOUT),
  perMessageDeflate: false,
  httpCompression: false,
  maxHttpBufferSize: 1e6,
});
const work = Number(WORK) / 1000;
engine.on("connection", (socket) => {
  // https://socket.io/docs/v4/memory-usage advises to let the first request go.
  socket.request = null;
  socket.on("message", (data) => {
    if (work > 0) for (const until = performance.now() + work; performance.now() < until; );
    if (APP === "echo") return socket.send(data);
    for (const id in engine.clients) engine.clients[id].send(data);
  });
});
if (cluster.isPrimary && Number(WORKERS) > 1) {
  for (let i = 0; i < Number(WORKERS); i++) cluster.fork();
} else {
  http.listen(Number(PORT), "127.0.0.1");
}
