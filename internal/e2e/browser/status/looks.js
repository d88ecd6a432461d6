// How the page looks and reads: in light and dark, on a phone, to a screen reader, in a
// tab that nobody sees, and with names that are meant to do harm.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Watched, assert, go, options, print, run } = require('./driver');

const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const phones = [{ width: 375, height: 740 }, { width: 320, height: 560 }];
const hostile = ['<img src=x onerror="document.body.dataset.owned=1">', '"><script>document.body.dataset.owned=1</script>', '\u202Egnp.exe\u0000\n', 'x'.repeat(5000)];

run(async (browser) => {
  await go('life');
  for (const scheme of ['light', 'dark']) await looks(browser, scheme);
  await hostileNames(browser);
  await hiddenTab(browser);
  await arithmetic(browser);
});

async function looks(browser, scheme) {
  const watched = await Watched.open(browser, { colorScheme: scheme });
  const { page } = watched;
  await watched.says(/^Live/);
  await page.locator('#last li').first().waitFor();
  await watched.until(() => watched.requests('/v1/stats').length, (n) => n > 2);
  await page.screenshot({ path: path.join(options.screenshots, `status-${scheme}.png`) });
  await page.locator('#search button').click();
  await page.locator('#session-rows tr').first().waitFor();
  await page.screenshot({ path: path.join(options.screenshots, `status-${scheme}-full.png`), fullPage: true });
  const [red, green, blue] = (await page.evaluate(() => getComputedStyle(document.body).backgroundColor)).match(/\d+/g).map(Number);
  assert.equal(red + green + blue < 3 * 128, scheme === 'dark');

  // Charts are drawn in the colors of a scheme also when it changes.
  const picture = () => page.locator('#chart-sessions canvas').evaluate((canvas) => canvas.toDataURL());
  const before = await picture();
  await page.emulateMedia({ colorScheme: scheme === 'dark' ? 'light' : 'dark' });
  await watched.until(picture, (now) => now !== before);
  await page.emulateMedia({ colorScheme: scheme });

  for (const viewport of phones) {
    await page.setViewportSize(viewport);
    await watched.fits();
    await page.locator('#session-rows button').first().click();
    await page.locator('#end-dialog[open]').waitFor();
    await watched.fits();
    await page.locator('#end-form button[value=cancel]').click();
  }
  await page.screenshot({ path: path.join(options.screenshots, `status-${scheme}-phone.png`) });
  watched.check();
  await watched.context.close();
  await accessible(browser, scheme);
}

// accessible has axe look at all that the page may show. axe adds elements to the page,
// which its policy forbids, so the policy is off.
async function accessible(browser, scheme) {
  const watched = await Watched.open(browser, { colorScheme: scheme, bypassCSP: true });
  const { page } = watched;
  await watched.says(/^Live/);
  await page.locator('#last li').first().waitFor();
  await page.locator('#transport').selectOption('websocket'); // a short list: each row is the same to axe
  await page.locator('#search button').click();
  await page.locator('#session-rows tr').first().waitFor();
  await page.locator('#group-search button').click();
  await page.locator('#pause').click();
  await page.evaluate(axe);
  const rules = scheme === 'light' ? ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] : ['color-contrast']; // all else is the same
  const violations = () => page.evaluate(async (runOnly) => {
    const { violations: all } = await window.axe.run(document, { runOnly });
    return all.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`);
  }, rules);
  await page.evaluate(() => {
    document.getElementById('key').hidden = false;
    document.body.dataset.state = 'gone';
  });
  assert.deepEqual(await violations(), []);
  await page.setViewportSize(phones[0]);
  await page.locator('#session-rows button').first().click();
  assert.deepEqual(await violations(), [], 'on a phone, with a dialog');
  await watched.context.close();
}

async function hostileNames(browser) {
  const session = (group, i) => ({ id: `${i}`.padStart(22, 'A'), transport: group, revision: 4, address: group, opened: group, heartbeat: '', groups: [group], buffered: 0, state: group });
  const watched = await Watched.open(browser, {}, async (page) => {
    await page.route('**/v1/sessions?*', (route) => route.fulfill({ json: { sessions: hostile.map(session), cursor: '' } }));
    await page.route('**/v1/groups?*', (route) => route.fulfill({ json: { groups: [...hostile, ''].map((name) => ({ name, sessions: 1 })), cursor: '' } }));
    await page.route('**/v1/stats', async (route) => {
      const json = await (await route.fetch()).json();
      json.node = hostile[0];
      json.last_refused = hostile.map((value) => ({ time: value, cause: 'foreign_origin', value, host: value, client: value }));
      json.refused.foreign_origin = 1;
      await route.fulfill({ json });
    });
  });
  const { page } = watched;
  await watched.says(/^Live/);
  await page.locator('#search button').click();
  await page.locator('#group-search button').click();
  await page.locator('#session-rows tr').nth(3).waitFor();
  await page.locator('#group-rows tr').nth(3).waitFor();
  await page.locator('#last li').nth(3).waitFor();
  await page.locator('#session-rows button').first().click();
  assert.equal(await page.locator('main :is(img, script), header img, dialog img').count(), 0);
  assert.equal(await page.evaluate(() => document.body.dataset.owned), undefined);
  const text = await page.evaluate(() => document.body.textContent);
  assert.ok(text.includes('\\u{202e}gnp.exe\\u{0}\\u{a}'));
  assert.ok(!/[\u202E\u0000]/.test(text));
  assert.ok(!text.includes('x'.repeat(201)));
  assert.equal(await page.locator('#last code').count(), 0, 'what is no origin is in no command');
  await watched.fits();
  await page.locator('#end-form button[value=cancel]').click();
  await page.setViewportSize(phones[1]);
  await watched.fits();
  await page.locator('#group-rows button').first().click();
  assert.equal(await page.locator('#what').inputValue(), hostile[0]);
  const group = () => watched.requests('/v1/sessions').at(-1).query.get('group');
  await watched.until(group, (name) => name === hostile[0]);
  await page.locator('#group-rows button').last().click();
  await watched.until(group, (name) => name === '');
  watched.check();
  await watched.context.close();
}

// hiddenTab has the time of its page in hand.
async function hiddenTab(browser) {
  const watched = await Watched.open(browser, {}, (page) => page.clock.install());
  const { page } = watched;
  await watched.says(/^Live/);
  const hide = (hidden) => page.evaluate((now) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => now });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  const asked = () => watched.requests('/v1/stats').length;
  await hide(true);
  const before = asked();
  await page.clock.runFor(60_000);
  assert.equal(asked(), before, 'nobody sees it');
  await hide(false);
  await watched.until(asked, (n) => n === before + 1);

  await page.locator('#pause').click();
  await watched.says(/^Paused/);
  const paused = asked();
  await page.clock.runFor(60_000);
  assert.equal(asked(), paused, 'it is paused');
  await page.locator('#pause').click();
  await watched.until(asked, (n) => n > paused);
  await watched.says(/^Live/);
  print({ hidden: before, asked: asked() });
  watched.check();
  await watched.context.close();
}

// arithmetic is what the page makes of counts.
async function arithmetic(browser) {
  const watched = await Watched.open(browser);
  const { page } = watched;
  const got = await page.evaluate(async () => {
    const { History, quantile } = await import('/page/history.js');
    const { bytes, delay, duration, plain, rate } = await import('/page/format.js');
    const { help } = await import('/page/hints.js');
    const history = new History();
    const add = (seconds, n, node = 'a') => history.add({ node, uptime_seconds: seconds, n, delay_bounds_seconds: [1, 2, 4], lag: { counts: [n, 0, 0, 0] } });
    const n = (stats) => stats.n;
    const seen = [];
    const see = (same) => seen.push([same, history.rate(n), history.lastMinute(n), history.percentile('lag', 0.5)]);
    see(add(100, 10));
    see(add(102, 20));
    for (let i = 103; i <= 190; i++) add(i, 20);
    see(add(191, 24));
    see(add(3, 5)); // it has begun anew
    see(add(4, 5, 'b')); // another one answers
    return {
      seen,
      quantiles: [quantile([0, 0, 0, 0], [1, 2, 4], 0.99), quantile([100, 0, 0, 0], [1, 2, 4], 0.99), quantile([50, 50, 0, 0], [1, 2, 4], 0.99), quantile([0, 0, 0, 5], [1, 2, 4], 0.99)],
      formats: [bytes(0), bytes(1023), bytes(1536), bytes(5 * 2 ** 30), delay(0.000002), delay(0.0204), delay(1.5), duration(0.5), duration(3720), duration(90061), rate(0.25), rate(12.4), plain('a\u200bb'), plain(undefined)],
      flags: ['https://shop.example', 'http://127.0.0.1:8080', 'null', '', "https://x.example';rm", 'https://x.example/path', 'HTTPS://X.EXAMPLE'].map((value) => help({ cause: 'foreign_origin', value, host: 'h' }).flag ?? ''),
    };
  });
  assert.deepEqual(got, {
    seen: [[true, null, 0, null], [true, 5, 10, 0.5], [true, 4, 4, 0.5], [false, null, 0, null], [false, null, 0, null]],
    quantiles: [null, 0.99, 1.98, 4],
    formats: ['0 B', '1,023 B', '1.50 KiB', '5.00 GiB', '2 µs', '20.4 ms', '1.5 s', '0 s', '1 h 2 min', '1 d 1 h', '0.3', '12', 'a\\u{200b}b', ''],
    flags: ['--cors-origin https://shop.example', '--cors-origin http://127.0.0.1:8080', '', '', '', '', ''],
  });
  watched.check();
  await watched.context.close();
}
