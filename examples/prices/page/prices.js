import { Socket } from "./engine.io.esm.min.js";

const element = (id) => document.getElementById(id);
const rows = new Map(); // by symbol
let failures = 0;

function connect() {
  rows.clear();
  element("quotes").replaceChildren();
  // By polling it is the phone that asks for more: one that is slow asks seldom.
  const socket = new Socket({ transports: ["polling"] });
  socket.on("open", () => { failures = 0; });
  socket.on("message", (data) => receive(JSON.parse(data)));
  socket.on("close", () => {
    const wait = Math.min(30_000, 500 * 2 ** failures++) * (0.5 + Math.random());
    element("status").textContent = "connection lost, trying again";
    setTimeout(connect, wait);
  });
}

function receive(message) {
  if (message.viewers) {
    element("status").textContent = `${message.viewers} watching`;
    return;
  }
  if (!rows.has(message.symbol)) rows.set(message.symbol, newRow(message.symbol));
  const row = rows.get(message.symbol);
  row.traded += message.traded;
  row.trades += message.trades;
  row.messages++;
  const texts = [(message.price / 100).toFixed(2), row.traded, row.trades, row.messages];
  texts.forEach((text, i) => { row.cells[i].textContent = text; });
}

function newRow(symbol) {
  const tr = element("quotes").insertRow();
  tr.insertCell().textContent = symbol;
  return { traded: 0, trades: 0, messages: 0, cells: [0, 1, 2, 3].map(() => tr.insertCell()) };
}

// Nothing runs on the page meanwhile, as on a phone that has no signal.
element("tunnel").addEventListener("click", () => {
  const end = performance.now() + 5000;
  while (performance.now() < end);
});

connect();
