// The small charts, drawn by uPlot. Each has its values as text below, which is what
// screen readers read and a pointer over the chart changes.

import { byId, element, say } from './dom.js';
import { bytes, clock, compact, count, delay, rate, words } from './format.js';

const kept = 300; // points: five minutes
const height = 130; // pixels
const powers = Array.from({ length: 52 }, (_, i) => 2 ** i); // steps of an axis of bytes
const dashes = [[], [6, 4], [2, 3], [10, 3, 2, 3], [4, 2], [1, 2], [8, 2]];

const sum = (revisions) => revisions.revision3 + revisions.revision4;
const traffic = (stats, way, what) => stats.by_transport.polling[way][what] + stats.by_transport.websocket[way][what];
const total = (counts) => Object.values(counts).reduce((all, n) => all + n, 0);

// specs are the charts: each line with its name and its value of a History, null for none.
function specs(stats) {
  const reasons = Object.keys(stats.closed);
  return [
    { id: 'sessions', title: 'Sessions by transport', show: count, axis: compact, lines: [
      ['polling', (h) => sum(h.now.by_transport.polling.sessions)],
      ['WebSocket', (h) => sum(h.now.by_transport.websocket.sessions)],
    ] },
    { id: 'messages', title: 'Messages a second', show: rate, axis: compact, lines: [
      ['in', (h) => h.rate((s) => traffic(s, 'in', 'messages'))],
      ['out', (h) => h.rate((s) => traffic(s, 'out', 'messages'))],
    ] },
    { id: 'traffic', title: 'Bytes of messages a second', show: bytes, axis: bytes, least: 1024, lines: [
      ['in', (h) => h.rate((s) => traffic(s, 'in', 'bytes'))],
      ['out', (h) => h.rate((s) => traffic(s, 'out', 'bytes'))],
    ] },
    { id: 'closes', title: 'Sessions closed a second, by reason', show: rate, axis: compact,
      lines: reasons.map((reason) => [words(reason), (h) => h.rate((s) => s.closed[reason])]) },
    { id: 'opens', title: 'Opened and refused a second', show: rate, axis: compact, lines: [
      ['opened', (h) => h.rate((s) => sum(s.by_transport.polling.opened) + sum(s.by_transport.websocket.opened))],
      ['refused', (h) => h.rate((s) => total(s.refused))],
    ] },
    { id: 'delays', title: 'Loop lag and ping lateness, p99', show: delay, axis: delay, least: 0.001, lines: [
      ['loop lag', (h) => h.percentile('loop_lag', 0.99)],
      ['ping lateness', (h) => h.percentile('ping_lateness', 0.99)],
    ] },
    { id: 'queued', title: 'Bytes that wait', show: bytes, axis: bytes, least: 1024, lines: [
      ['for clients', (h) => h.now.queued],
      ['for the application', (h) => h.now.pending],
    ] },
    { id: 'memory', title: 'Memory', show: bytes, axis: bytes, lines: [
      ['process', (h) => h.now.process.resident_bytes ?? null],
      ['Go, from the system', (h) => h.now.process.go_bytes],
      ['Go, objects', (h) => h.now.process.heap_bytes],
    ] },
    { id: 'processor', title: 'Processor, % of a core', show: count, axis: compact, least: 10, lines: [
      ['process', (h) => (h.now.process.cpu_seconds === undefined ? null : h.rate((s) => s.process.cpu_seconds * 100))],
    ] },
  ];
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A Chart is one of them. Its columns are what uPlot draws: times, and a line's values each.
class Chart {
  constructor(spec) {
    this.spec = spec;
    this.columns = [[], ...spec.lines.map(() => [])];
    this.hovered = null; // the place of the pointer
    this.box = element('div', { className: 'plot', role: 'img', 'aria-label': `${spec.title}: lines of the last five minutes. The latest values are below.` });
    this.values = spec.lines.map(() => element('span', { className: 'value' }));
    const legend = element('ul', { className: 'legend' }, ...spec.lines.map(([name], i) =>
      element('li', {}, element('span', { className: `marker line${i}`, 'aria-hidden': 'true' }), `${name} `, this.values[i])));
    this.figure = element('figure', { id: `chart-${spec.id}` }, element('figcaption', {}, spec.title), this.box, legend);
  }

  add(time, history) {
    this.columns[0].push(time);
    this.spec.lines.forEach(([, value], i) => this.columns[i + 1].push(history ? value(history) : null));
    if (this.columns[0].length > kept) for (const column of this.columns) column.shift();
    this.plot?.setData(this.columns);
    this.show();
  }

  show() {
    const at = this.hovered ?? this.columns[0].length - 1;
    this.values.forEach((place, i) => {
      const value = this.columns[i + 1][at];
      say(place, value === null || value === undefined ? '–' : this.spec.show(value));
    });
  }

  // draw makes the plot anew, in the colors that hold.
  draw() {
    this.plot?.destroy();
    const axis = { stroke: color('--muted'), grid: { stroke: color('--grid'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
    this.plot = new globalThis.uPlot({
      width: Math.max(this.box.clientWidth, 100), height,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high * 1.1, this.spec.least ?? 1)] } },
      axes: [
        { ...axis, space: 70, size: 24, values: (_, times) => times.map((t) => clock(t * 1000)) },
        { ...axis, space: 28, size: 62, ...(this.spec.axis === bytes && { incrs: powers }), values: (_, ticks) => ticks.map((n) => this.spec.axis(n)) },
      ],
      series: [{}, ...this.spec.lines.map(([name], i) => ({
        label: name, stroke: color(`--line${i}`), width: 1.5, dash: dashes[i], points: { show: false },
      }))],
      hooks: { setCursor: [(plot) => {
        this.hovered = plot.cursor.idx ?? null;
        this.show();
      }] },
    }, this.columns, this.box);
  }
}

export class Charts {
  #all = [];

  // add draws a point of each chart, or a gap where history is null.
  add(history) {
    if (this.#all.length === 0) {
      if (!history) return;
      this.#make(history.now);
    }
    const time = Date.now() / 1000;
    for (const chart of this.#all) chart.add(time, history);
  }

  #make(stats) {
    this.#all = specs(stats).map((spec) => new Chart(spec));
    byId('charts').replaceChildren(...this.#all.map((chart) => chart.figure));
    for (const chart of this.#all) chart.draw();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#all.forEach((chart) => chart.draw()));
    const resized = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        const chart = this.#all.find(({ box }) => box === target);
        if (chart.plot.width !== target.clientWidth && target.clientWidth > 0) chart.plot.setSize({ width: target.clientWidth, height });
      }
    });
    for (const chart of this.#all) resized.observe(chart.box);
  }
}
