// An operator has the page open while clients come, are refused and are ended, while the
// server is replaced, and drains it at the end.
'use strict';

const { Watched, assert, go, number, print, run } = require('./driver');

run(async (browser) => {
  const watched = await Watched.open(browser);
  await watched.says(/^Live/);
  await figuresMove(watched);
  await refusalSaysWhatHelps(watched);
  await endByKeyboard(watched);
  await manySessions(watched);
  await goneAndBack(watched);
  await drain(watched);
  watched.check();
});

async function figuresMove(watched) {
  const { page } = watched;
  const picture = () => page.locator('#chart-messages canvas').evaluate((canvas) => canvas.toDataURL());
  const value = (chart, i) => page.locator(`#chart-${chart} .value`).nth(i).textContent();
  await page.locator('#chart-messages canvas').waitFor();
  const before = await picture();
  await go('load');
  await watched.until(async () => number(await watched.tile('Sessions').textContent()), (n) => n >= 2);
  await watched.until(async () => number(await value('messages', 0)), (n) => n > 0);
  await watched.until(async () => number(await value('messages', 1)), (n) => n > 0);
  await watched.until(async () => number(await value('sessions', 1)), (n) => n >= 1);
  await watched.until(async () => number(await value('memory', 1)), (n) => n > 0);
  await watched.until(picture, (now) => now !== before);
  await go('rest');
}

async function refusalSaysWhatHelps(watched) {
  const { page } = watched;
  await go('foreign');
  const last = page.locator('#last li').filter({ hasText: 'https://shop.example' });
  await last.waitFor();
  assert.equal(await last.locator('code').textContent(), '--cors-origin https://shop.example');
  assert.match(await last.textContent(), /foreign origin.*asked 127\.0\.0\.1:\d+.*from 127\.0\.0\.1:\d+/);
  assert.match(await page.locator('#causes tr').filter({ hasText: 'foreign origin' }).textContent(), /^foreign origin11$/);
}

// endByKeyboard ends a session without a pointer.
async function endByKeyboard(watched) {
  const { page } = watched;
  const victim = await go('victim');
  const tabTo = async (what) => {
    for (let i = 0; i < 60; i++) {
      if (await page.evaluate((selector) => document.activeElement.matches(selector), what)) return;
      await page.keyboard.press('Tab');
    }
    assert.fail(`no way to ${what}`);
  };
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip', 'the first thing is the way past the header');
  await page.keyboard.press('Enter');
  await tabTo('#by');
  await page.keyboard.press('ArrowDown');
  await tabTo('#what');
  await page.keyboard.type(victim.id);
  await page.keyboard.press('Enter');
  await page.locator('#found').filter({ hasText: /^1 at/ }).waitFor();
  const row = page.locator('#session-rows tr');
  assert.match(await row.textContent(), new RegExp(`${victim.id}websocket, revision 4${victim.address.replaceAll('.', '\\.')}`));

  await tabTo('#session-rows button');
  await page.keyboard.press('Enter');
  await page.locator('#end-dialog[open]').waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.value), 'cancel', 'Enter alone ends nothing');
  await page.keyboard.press('Escape');
  await page.locator('#end-dialog').waitFor({ state: 'hidden' });
  assert.equal(watched.asked.filter(({ method }) => method === 'DELETE').length, 0);

  await tabTo('#session-rows button');
  await page.keyboard.press('Enter');
  await tabTo('#end-code');
  await page.keyboard.type('2000'); // no code that an application may send
  await tabTo('#end-reason');
  await page.keyboard.type('kicked');
  await page.keyboard.press('Enter');
  await page.locator('#end-error').filter({ hasText: /code/ }).waitFor(); // what the server says of the code
  await tabTo('#end-code');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('4001');
  await page.keyboard.press('Enter');
  await page.locator('#end-dialog').waitFor({ state: 'hidden' });
  await page.waitForFunction(() => document.activeElement.textContent === 'ended'); // once the row is drawn again
  await go('ended');
  await page.locator('#search button').click();
  await page.locator('#found').filter({ hasText: /^None at/ }).waitFor();
}

// manySessions pages through a list of which only a part is ever on the page.
async function manySessions(watched) {
  const { page } = watched;
  await go('many');
  await watched.until(async () => number(await watched.tile('Sessions').textContent()), (n) => n >= 200_000);
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
    }).observe({ type: 'longtask' });
  });
  const polls = watched.requests('/v1/stats').length;
  const before = watched.requests('/v1/sessions').length;
  await page.locator('#by').selectOption('address');
  await page.locator('#what').fill('127.0.0.0/8');
  await page.locator('#transport').selectOption('polling');
  await page.locator('#search button').click();
  const seen = new Set();
  const pages = 20;
  for (let i = 1; i <= pages; i++) {
    if (i > 1) await page.locator('#session-next').click();
    await page.locator('#found').filter({ hasText: new RegExp(`^Page ${i}, 50 at .*there are more`) }).waitFor();
    const ids = await page.locator('#session-rows .id').allTextContents();
    assert.equal(ids.length, 50);
    for (const id of ids) seen.add(id);
  }
  assert.equal(seen.size, 50 * pages, 'a session is on one page');
  await page.locator('#session-back').click();
  await page.locator('#found').filter({ hasText: /^Page 19, 50/ }).waitFor();
  const requests = watched.requests('/v1/sessions').slice(before);
  assert.equal(requests.length, pages + 1);
  for (const { query } of requests) assert.equal(query.get('limit'), '50');
  await watched.until(() => watched.requests('/v1/stats').length, (n) => n > polls); // it is live meanwhile
  print({ longest: await page.evaluate(() => window.longest), polls: watched.requests('/v1/stats').length - polls });
}

async function goneAndBack(watched) {
  const { page } = watched;
  const seconds = /since (\d\d:\d\d:\d\d)\./;
  await go('stop');
  await watched.says(/^The server has not answered since/);
  const since = (await page.locator('#state').textContent()).match(seconds)[1];
  const failures = watched.requests('/v1/stats').length;
  await watched.until(() => watched.requests('/v1/stats').length, (n) => n > failures + 1);
  assert.equal((await page.locator('#state').textContent()).match(seconds)[1], since, 'it is said once');
  await page.locator('#search button').click();
  await page.locator('#found').filter({ hasText: 'The server does not answer.' }).waitFor();
  await go('start');
  await watched.says(/^The server has begun anew/);
  await watched.until(async () => number(await watched.tile('Sessions').textContent()), (n) => n === 0);
}

async function drain(watched) {
  const { page } = watched;
  await page.locator('#drain').click();
  await page.locator('#drain-dialog button[value=cancel]').click();
  await page.locator('#drain-dialog').waitFor({ state: 'hidden' });
  assert.equal(watched.requests('/v1/drain').length, 0);
  await page.locator('#drain').click();
  await page.locator('#drain-form button[type=submit]').click();
  await go('drained');
  await watched.says(/^The server has not answered since/);
  assert.equal(watched.requests('/v1/drain').length, 1);
}
