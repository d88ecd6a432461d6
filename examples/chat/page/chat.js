// What others send is only ever shown as text: textContent, never innerHTML.
import { Socket } from "./engine.io.esm.min.js";

const shown = 200; // messages that stay on the page
const element = (id) => document.getElementById(id);

let socket;
let place; // {room, nick} while in a room: joined again after the connection was lost
let since = 0; // the n of the last joined
let failures = 0;

function connect() {
  socket = new Socket();
  const status = () => { element("status").textContent = `connected by ${socket.transport.name}`; };
  socket.on("open", () => {
    failures = 0;
    status();
    since = 0; // the server may be a new one
    if (place) send({ type: "join", ...place });
  });
  socket.on("upgrade", status);
  socket.on("message", (data) => receive(JSON.parse(data)));
  socket.on("close", () => {
    // All clients of a server lose it at once: they come back at random moments.
    const wait = Math.min(30_000, 500 * 2 ** failures++) * (0.5 + Math.random());
    element("status").textContent = "connection lost, trying again";
    setTimeout(connect, wait);
  });
}

function send(note) {
  socket.send(JSON.stringify(note));
}

function receive(note) {
  if (note.type !== "joined" && note.n < since) return; // from the room before, or in the history
  element("error").textContent = note.type === "error" ? note.text : "";
  switch (note.type) {
    case "joined":
      place = { room: note.room, nick: note.nick };
      since = note.n;
      element("name").textContent = `# ${note.room}`;
      element("who").replaceChildren(...note.who.map(person));
      element("said").replaceChildren();
      for (const said of note.history ?? []) show(said);
      enter(true);
      break;
    case "left":
      place = undefined;
      enter(false);
      break;
    case "came":
      element("who").append(person(note.nick));
      show(note);
      break;
    case "went":
      [...element("who").children].find((li) => li.textContent === note.nick)?.remove();
      show(note);
      break;
    case "said":
      show(note);
      break;
  }
}

function enter(inside) {
  element("door").hidden = inside;
  element("room").hidden = !inside;
  (inside ? element("say").text : element("door").nick).focus();
}

function person(nick) {
  const li = document.createElement("li");
  li.textContent = nick;
  return li;
}

function show(note) {
  const li = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = note.at;
  time.textContent = new Date(note.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  li.append(time);
  if (note.type === "said") {
    const nick = document.createElement("b");
    nick.textContent = note.nick;
    li.append(nick, note.text);
  } else {
    li.className = "notice";
    li.append(`${note.nick} ${note.type === "came" ? "has come" : "has gone"}`);
  }
  const list = element("said");
  list.append(li);
  while (list.children.length > shown) list.firstChild.remove();
  list.scrollTop = list.scrollHeight;
}

element("door").addEventListener("submit", (event) => {
  event.preventDefault();
  send({ type: "join", room: element("door").room.value, nick: element("door").nick.value });
});
element("say").addEventListener("submit", (event) => {
  event.preventDefault();
  send({ type: "say", text: element("say").text.value });
  element("say").reset();
});
element("leave").addEventListener("click", () => send({ type: "leave" }));

connect();
