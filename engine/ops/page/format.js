// How figures and the texts of clients are shown.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

export const count = (n) => whole.format(n);

// rate is something a second: fractions matter while there are few.
export const rate = (n) => (n > 0 && n < 10 ? n.toFixed(1) : whole.format(n));

export const compact = (n) => short.format(n);

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (Math.abs(n) >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${n >= 100 || unit === 0 ? whole.format(n) : n.toPrecision(3)} ${units[unit]}`;
}

export function delay(seconds) {
  if (seconds === 0) return '0';
  if (seconds < 0.001) return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  return `${Number(seconds.toPrecision(3))} s`;
}

export function duration(seconds) {
  const parts = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];
  const first = parts.findIndex(([length]) => seconds >= length);
  if (first < 0) return '0 s';
  const [length, unit] = parts[first];
  const rest = parts[first + 1];
  const more = rest ? Math.floor((seconds % length) / rest[0]) : 0;
  return `${Math.floor(seconds / length)} ${unit}${more ? ` ${more} ${rest[1]}` : ''}`;
}

const two = (n) => String(n).padStart(2, '0');

// clock is a time of today, and with its date one of another day.
export function clock(time) {
  const at = new Date(time);
  if (Number.isNaN(at.getTime())) return '';
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  if (at.toDateString() === new Date().toDateString()) return text;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${text}`;
}

// words is a name of the server's as people read it.
export const words = (name) => String(name).replaceAll('_', ' ');

const most = 200; // characters of a text that are shown

// plain is a text that a client may have written: short, and without characters that
// cannot be seen or turn the text around.
export function plain(text) {
  let all = String(text ?? '').replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu,
    (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  if (all.length > most) all = `${all.slice(0, most)}…`;
  return all;
}
