// The status page of a server: it asks /v1/stats every second and shows what comes.

import { Problem, ask, key, said } from './api.js';
import { Charts } from './charts.js';
import { byId, say, setUpDialog } from './dom.js';
import { clock, count } from './format.js';
import { History } from './history.js';
import { Poll } from './poll.js';
import { setUpSessions } from './sessions.js';
import { show } from './view.js';

const history = new History();
const charts = new Charts();
let goneSince = 0; // when the server did not answer for the first time, in milliseconds; 0 while it does
let paused = false;
let live = false; // the state line says so

// The state is read aloud, so its text changes only when something has happened.
function state(text, kind) {
  say(byId('state'), text);
  document.body.dataset.state = kind;
  live = kind === 'live';
}

function got(stats) {
  const same = history.add(stats);
  askForKey(false);
  if (!same) {
    charts.add(null);
    state(`The server has begun anew, at ${clock(Date.now())}.`, 'live');
  } else if (goneSince) {
    state(`The server is back since ${clock(Date.now())}. It was gone since ${clock(goneSince)}.`, 'live');
  } else if (!live) {
    state('Live: new figures every second.', 'live');
  }
  goneSince = 0;
  show(history);
  charts.add(history);
  byId('drain').disabled = stats.phase !== 'serving';
}

function failed(error) {
  if (error instanceof Problem) {
    if (error.needsKey || error.status === 403) {
      poll.stop();
      askForKey(true, error);
      state('The server needs a key.', 'gone');
      return;
    }
    state(error.message, 'gone');
    return;
  }
  charts.add(null);
  if (goneSince === 0) {
    goneSince = Date.now();
    state(`The server has not answered since ${clock(goneSince)}. This page asks again every second.`, 'gone');
  }
}

function askForKey(wanted, error) {
  const section = byId('key');
  byId('forget').hidden = key.get() === '';
  if (section.hidden !== wanted) return;
  section.hidden = !wanted;
  if (wanted) {
    say(byId('key-why'), error.message);
    byId('key-text').value = '';
    byId('key-text').focus();
  }
}

byId('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = byId('key-text').value.trim();
  if (!/^[\x21-\x7e]+$/.test(text)) {
    say(byId('key-why'), 'A key has letters, digits and signs, without spaces.');
    return;
  }
  key.set(text);
  byId('key').hidden = true;
  byId('content').focus();
  poll.start();
});

byId('forget').addEventListener('click', () => {
  key.forget();
  byId('forget').hidden = true;
  byId('pause').focus();
});

byId('pause').addEventListener('click', () => {
  paused = !paused;
  byId('pause').setAttribute('aria-pressed', String(paused));
  state(paused ? `Paused at ${clock(Date.now())}.` : 'Asking the server…', 'paused');
  poll.paused = paused;
});

const openDrain = setUpDialog(byId('drain-dialog'), () => ask('POST', 'v1/drain'), said);

byId('drain').addEventListener('click', () => {
  say(byId('drain-sessions'), history.now ? count(history.now.sessions) : 'An unknown number of');
  openDrain();
});

setUpSessions();
const poll = new Poll(() => ask('GET', 'v1/stats'), got, failed);
