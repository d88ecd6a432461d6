// The search for sessions and groups, and the end of a session.

import { Problem, ask, given, said } from './api.js';
import { byId, element, keep, row, say, setUpDialog } from './dom.js';
import { bytes, clock, count, plain } from './format.js';
import { Pages } from './pages.js';

const columns = ['Public id', 'Transport', 'Address', 'Opened', 'Heartbeat', 'Buffered', 'Groups', 'State', 'End'];
const shownGroups = 5; // of one session

let wanted = {}; // what was searched for last
let ending; // the session that a dialog asks about, and its button

async function load(cursor, limit) {
  if (wanted.by === 'id') {
    try {
      return { entries: [await ask('GET', `v1/sessions/${encodeURIComponent(wanted.what)}`)], cursor: '' };
    } catch (error) {
      if (error instanceof Problem && error.status === 404) return { entries: [], cursor: '' };
      throw error;
    }
  }
  const filter = wanted.by ? { [wanted.by]: wanted.what } : {}; // the name of a group may be empty
  const { sessions, cursor: next } = await ask('GET', 'v1/sessions', { ...given({ limit, cursor, transport: wanted.transport }), ...filter });
  return { entries: sessions, cursor: next };
}

function show(list) {
  keep(byId('session-rows'), list, (s) => s.id, (s) => {
    const button = element('button', { type: 'button', 'aria-label': `End the session of ${plain(s.address)}` }, 'End…');
    const line = row(columns, [element('bdi', { className: 'id' }, plain(s.id)), '', '', '', '', '', '', '', button], [5]);
    for (const place of [1, 2, 3, 4, 5, 7]) line.children[place].classList.add('short');
    button.addEventListener('click', () => askToEnd(s, button));
    return line;
  }, (line, s) => {
    const groups = s.groups ?? [];
    const more = groups.length - shownGroups + (s.more_groups ?? 0);
    const names = groups.slice(0, shownGroups).map(plain).join(', ');
    const texts = [`${plain(s.transport)}, revision ${plain(s.revision)}`, plain(s.address), clock(s.opened), clock(s.heartbeat), bytes(s.buffered),
      more > 0 ? `${names} and ${count(more)} more` : names || '–', plain(s.state)];
    texts.forEach((text, i) => say(line.children[i + 1], text));
  });
}

function askToEnd(session, button) {
  ending = { session, button };
  say(byId('end-id'), plain(session.id));
  say(byId('end-address'), plain(session.address));
  byId('end-code').value = '';
  byId('end-reason').value = '';
  openEnd();
}

const openEnd = setUpDialog(byId('end-dialog'), async () => {
  const { session, button } = ending;
  let text = 'ended';
  try {
    const { sessions } = await ask('DELETE', `v1/sessions/${encodeURIComponent(session.id)}`, given({ code: byId('end-code').value, reason: byId('end-reason').value }));
    if (sessions === 0) text = 'was ending';
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404)) throw error;
    text = 'had ended';
  }
  const place = element('span', { tabIndex: -1 }, text);
  button.replaceWith(place);
  ending.focus = place;
}, said);

// The button that has opened the dialog is gone after it: whoever uses the keyboard is on
// the same row.
byId('end-dialog').addEventListener('close', () => ending.focus?.focus());

const sessionPages = new Pages({ table: 'sessions', found: 'found', pages: 'session-pages', back: 'session-back', next: 'session-next' }, load, show);

// search looks for what the form says. A group's name may have characters that a form has
// not, so it can be given.
function search(group) {
  const by = byId('by').value;
  wanted = { by, what: group ?? byId('what').value.trim(), transport: by === 'id' ? '' : byId('transport').value };
  return sessionPages.first();
}

function choose(by) {
  byId('by').value = by;
  byId('what').disabled = by === '';
  byId('what').required = by !== '';
  byId('transport').disabled = by === 'id';
}

async function loadGroups(cursor, limit) {
  const { groups, cursor: next } = await ask('GET', 'v1/groups', given({ prefix: byId('prefix').value, limit, cursor }));
  return { entries: groups, cursor: next };
}

function showGroups(list) {
  keep(byId('group-rows'), list, (g) => g.name, (g) => {
    const button = element('button', { type: 'button', 'aria-label': `Show the sessions of ${plain(g.name)}` }, 'Sessions');
    button.addEventListener('click', () => {
      choose('group');
      byId('what').value = g.name;
      byId('what').focus();
      search(g.name);
    });
    return row(['Group', 'Sessions', 'Show'], [element('bdi', { className: 'theirs' }, plain(g.name)), '', button], [1]);
  }, (line, g) => say(line.children[1], count(g.sessions)));
}

const groupPages = new Pages({ table: 'groups', found: 'groups-found', pages: 'group-pages', back: 'group-back', next: 'group-next' }, loadGroups, showGroups);

export function setUpSessions() {
  choose(byId('by').value); // a browser may remember it
  byId('by').addEventListener('change', () => choose(byId('by').value));
  byId('search').addEventListener('submit', (event) => {
    event.preventDefault();
    search();
  });
  byId('group-search').addEventListener('submit', (event) => {
    event.preventDefault();
    groupPages.first();
  });
}
