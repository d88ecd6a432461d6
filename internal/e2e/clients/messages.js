// The messages of the scenarios. They are made from fixed seeds: a failure can be run again.
'use strict';

// One, two, three and four bytes in UTF-8; four bytes are two UTF-16 units, which
// is what revision 3 counts in its text payloads.
const characters = ['a', 'é', 'ß', '€', '中', '文', '日', '😀', '🚀', '𝄞', '\uE000', '"', '\\', '\n', ':', '4', 'b'];

function texts() {
  return [
    'hello',
    'é', '€', '😀', '中文日本語', 'זה עובד', '\uE000\uF8FF',
    'zero \0 byte', 'line\nbreak\r\n', 'back\\slash \\n', '"quotes" & <tags>',
    '4 starts like a packet', 'b64=', '2probe', '6:4hello', '1', ' ',
    '\u2028 and \u2029',
    'x'.repeat(125), 'x'.repeat(126), '€'.repeat(42), 'y'.repeat(65535), 'y'.repeat(65536),
    text(10000),
    ...numbered(20, 'text €'),
  ];
}

function binaries() {
  const every = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  return [
    Buffer.from([0]), Buffer.from([1, 2, 3, 4]), Buffer.from([0x1e]), Buffer.from([0xff, 0xfe]),
    Buffer.alloc(10), Buffer.from('4hello'), Buffer.from('€😀'), every,
    binary(125), binary(126), binary(127), binary(65534), binary(65535), binary(65536),
    ...Array.from({ length: 20 }, (_, i) => Buffer.from([i, 255 - i])),
  ];
}

function mixed() {
  const all = [];
  const t = texts();
  const b = binaries();
  for (let i = 0; i < Math.max(t.length, b.length); i++) {
    if (i < t.length) all.push(t[i]);
    if (i < b.length) all.push(b[i]);
    if (i % 5 === 0 && i < b.length) all.push(binary(i + 1), text(i + 1));
  }
  return all;
}

// large returns messages of 900 KB, under the server's limit of 1,000,000 bytes.
// Two things grow on the way of a post, so over polling they start smaller:
// binary travels as base64 (900 KB would be 1,200,000 bytes), and client 1
// encodes text to UTF-8 twice, which doubles all but ASCII.
function large(client, transport) {
  const polling = transport === 'polling';
  return [
    'x'.repeat(900000),
    text(polling && client === '1' ? 490000 : 900000),
    binary(polling ? 700000 : 900000),
    'end of the large ones €',
  ];
}

// early tells which messages may go out before an upgrade is done. Client 1
// encodes text to UTF-8 twice over polling and once over websocket: what went up
// on the one and came back on the other is not the same text, with any server.
function early(client, transport, all) {
  if (client !== '1' || transport !== 'upgrade') return all;
  return all.filter((m) => typeof m !== 'string' || /^[\0-\x7f]*$/.test(m));
}

function numbered(count, label) {
  return Array.from({ length: count }, (_, i) => `${label} ${i}`);
}

// text returns mixed characters that are exactly size bytes long in UTF-8.
function text(size) {
  const random = generator(size);
  let out = '';
  let left = size;
  while (left > 0) {
    const c = characters[random() % characters.length];
    const n = Buffer.byteLength(c);
    if (n > left) {
      out += '.'.repeat(left);
      break;
    }
    out += c;
    left -= n;
  }
  return out;
}

function binary(size) {
  const random = generator(size);
  const out = Buffer.alloc(size);
  for (let i = 0; i < size; i++) out[i] = random() >>> 8;
  return out;
}

// generator returns a function giving pseudo random numbers of 31 bits.
function generator(seed) {
  let x = (seed * 2654435761 + 12345) % 2147483647 || 1;
  return () => {
    x = (x * 48271) % 2147483647;
    return x;
  };
}

module.exports = { texts, binaries, mixed, large, early, numbered };
