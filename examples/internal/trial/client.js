// The official client, run by the tests of the examples.
//
//   node client.js http://127.0.0.1:3000 '{"transports":["websocket"]}'
//
// Each event is printed as a line of JSON. Each line of the input is a command:
// {"send":"text"} or {"close":true}. At the end of the input the session is
// closed and the program ends.
'use strict';

const { createInterface } = require('node:readline');
const { Socket } = require('engine.io-client');

const [url, options] = process.argv.slice(2);
const socket = new Socket(url, JSON.parse(options));

socket.on('open', () => print({ event: 'open', transport: socket.transport.name }));
socket.on('upgrade', (transport) => print({ event: 'upgrade', transport: transport.name }));
socket.on('message', (data) => print({ event: 'message', data }));
socket.on('close', (reason) => print({ event: 'close', reason }));
socket.on('error', (err) => print({ event: 'error', reason: err.message, status: status(err) }));

// Polling has the status as a number, the WebSocket in the words of its library.
function status(err) {
  if (typeof err.description === 'number') return err.description;
  const [, code] = /response: (\d+)/.exec(err.description?.message ?? '') ?? [];
  return Number(code ?? 0);
}

const commands = createInterface({ input: process.stdin });
commands.on('line', (line) => {
  const command = JSON.parse(line);
  if (command.send !== undefined) socket.send(command.send);
  if (command.close) socket.close();
});
commands.on('close', () => {
  if (socket.readyState === 'closed') process.exit();
  socket.on('close', () => process.exit());
  socket.close();
});

function print(event) {
  console.log(JSON.stringify(event));
}
