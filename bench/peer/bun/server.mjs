// @socket.io/bun-engine: echo, or broadcast in a loop over all clients.
import { Server } from "@socket.io/bun-engine";

const { PORT, APP, PING_INTERVAL, PING_TIMEOUT, WORK, WORKERS, TLS_CERT, TLS_KEY } = process.env;
const engine = new Server({
  path: "/engine.io/",
  pingInterval: Number(PING_INTERVAL),
  pingTimeout: Number(PING_TIMEOUT),
  maxHttpBufferSize: 1e6,
});
const work = Number(WORK) / 1000;
const sockets = new Set();
engine.on("connection", (socket) => {
  sockets.add(socket);
  socket.on("close", () => sockets.delete(socket));
  socket.on("data", (data) => {
    if (work > 0) for (const until = performance.now() + work; performance.now() < until; );
    if (APP === "echo") return socket.write(data);
    for (const s of sockets) s.write(data);
  });
});
const tls = TLS_CERT ? { cert: Bun.file(TLS_CERT), key: Bun.file(TLS_KEY) } : undefined;
// Several processes share the port, which is Bun's own way to several cores.
const shared = Number(WORKERS) > 1;
if (shared && !process.env.SHARES) {
  for (let i = 1; i < Number(WORKERS); i++) {
    Bun.spawn([process.execPath, import.meta.path], { env: { ...process.env, SHARES: "1" }, stderr: "inherit" });
  }
}
Bun.serve({ tls, port: Number(PORT), hostname: "127.0.0.1", reusePort: shared, idleTimeout: 60, ...engine.handler() });
