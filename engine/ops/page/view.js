// The figures as text: what is there now, what was refused, which limits were met.

import { byId, element, keep, row, say } from './dom.js';
import { bytes, clock, count, duration, plain, rate, words } from './format.js';
import { help, limits } from './hints.js';

const share = (n, of) => (of > 0 ? ` (${Math.round((n / of) * 100)} %)` : '');

// tiles are the figures of this moment.
function tiles(history) {
  const s = history.now;
  const cpu = history.rate((one) => one.process.cpu_seconds ?? 0);
  const way = (name) => history.rate((one) => one.by_transport.polling[name].messages + one.by_transport.websocket[name].messages);
  const known = (value, show) => (value === null ? '–' : show(value));
  return [
    ['Sessions', count(s.sessions)],
    ['Connections', `${count(s.conns)}${s.max_conns ? ` of ${count(s.max_conns)}` : ''}`],
    ['Messages in a second', known(way('in'), rate)],
    ['Messages out a second', known(way('out'), rate)],
    ['Waiting for clients', `${bytes(s.queued)}${share(s.queued, s.queue_budget)}`],
    ['Polls waiting', count(s.polls)],
    ['Memory', bytes(s.process.resident_bytes ?? s.process.go_bytes)],
    ['Processor', s.process.cpu_seconds === undefined ? '–' : known(cpu, (n) => `${Math.round(n * 100)} % of a core`)],
    ['Descriptors', `${count(s.descriptors.used)}${s.descriptors.limit ? ` of ${count(s.descriptors.limit)}` : ''}`],
    ['Slow callbacks', count(s.slow)],
    ['Up', duration(s.uptime_seconds)],
  ];
}

export function show(history) {
  const s = history.now;
  keep(byId('now'), tiles(history), ([name]) => name,
    ([name]) => element('div', {}, element('dt', {}, name), element('dd')),
    (tile, [, value]) => say(tile.lastChild, value));

  say(byId('node'), plain(s.node));
  say(byId('version'), `${plain(s.version)}, ${plain(s.go)}`);
  const phase = byId('phase');
  say(phase, s.phase);
  phase.dataset.phase = s.phase;
  document.title = `${count(s.sessions)} sessions on ${plain(s.node) || 'Turbine'}`;

  showCluster(s.cluster);
  counts('causes', history, (one) => one.refused, ['Cause', 'Last minute', 'In all']);
  counts('closed', history, (one) => one.closed, ['Reason', 'Last minute', 'In all'], true);
  const met = counts('limit-rows', history, (one) => one.limits, ['Limit', 'Last minute', 'In all', 'What changes it'], false, (name) => limits[name] ?? '');
  hide('limits', 'limits-none', met === 0);
  hide('refused', 'refused-none', Object.values(s.refused).every((n) => n === 0));
  showLast(s.last_refused);
}

// showCluster lists the nodes that this one knows, itself first. What a node is called is
// for its operator to choose.
function showCluster(cluster) {
  byId('cluster').hidden = !cluster;
  if (!cluster) return;
  keep(byId('members'), cluster.members, (m) => m.id, (m) => row(['Node', 'State', 'Address for nodes', 'Version', 'Id'], ['', '', '', '', element('bdi', { className: 'id' }, plain(m.id))]),
    (line, m) => {
      const self = m === cluster.members[0];
      const texts = [self ? `${plain(m.name)} (this one)` : plain(m.name), self && !cluster.joined ? 'joining' : plain(m.state), plain(m.address) || '–', plain(m.version) || '–'];
      texts.forEach((text, i) => say(line.children[i], text));
      line.dataset.state = m.state;
    });
  const passed = Object.values(cluster.forwards).reduce((sum, n) => sum + n, 0);
  say(byId('passed'), `${count(passed)} requests were passed on to other nodes, ${count(cluster.relays)} WebSockets are now.${cluster.nats_up ? '' : ' NATS cannot be reached: what is published stays on this node.'}`);
}

// hide shows a line in the place of what has nothing in it.
function hide(id, instead, empty) {
  say(byId(instead), 'None since the start.');
  byId(id).hidden = empty;
  byId(instead).hidden = !empty;
}

// counts fills a table of counts by name, the most frequent first. It returns how many rows
// there are.
function counts(id, history, of, names, zeros = false, last) {
  const all = Object.entries(of(history.now)).filter(([, n]) => zeros || n > 0);
  if (!zeros) all.sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1));
  keep(byId(id), all, ([name]) => name,
    ([name]) => row(names, last ? [words(name), '', '', last(name)] : [words(name), '', ''], [1, 2]),
    (line, [name, n]) => {
      say(line.children[1], count(history.lastMinute((one) => of(one)[name])));
      say(line.children[2], count(n));
    });
  return all.length;
}

// showLast lists the last requests that were refused. What a client has sent is hostile.
function showLast(list) {
  keep(byId('last'), list, (one) => `${one.cause} ${one.value} ${one.host}`, (one) => {
    const { text, flag } = help(one);
    const title = element('p', {}, element('strong', {}, words(one.cause)));
    if (one.value) title.append(' ', element('bdi', { className: 'theirs' }, plain(one.value)));
    if (one.host) title.append(' asked ', element('bdi', { className: 'theirs' }, plain(one.host)));
    const item = element('li', {}, title, element('p', { className: 'note' }, element('span', { className: 'when' })));
    if (text) item.append(element('p', { className: 'help' }, text));
    if (flag) item.append(element('p', { className: 'help' }, element('code', {}, flag)));
    return item;
  }, (item, one) => say(item.querySelector('.when'), `${clock(one.time)}${one.client ? `, from ${plain(one.client)}` : ''}`));
}
