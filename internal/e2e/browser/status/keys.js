// Where keys are needed the page asks for one, and keeps it in its tab alone.
'use strict';

const { Watched, assert, go, run } = require('./driver');

run(async (browser) => {
  const { reader, ender } = await go('keys');
  const watched = await Watched.open(browser);
  const { page } = watched;
  const use = async (key) => {
    await page.locator('#key-text').fill(key);
    await page.locator('#key-text').press('Enter');
  };
  await page.locator('#key').waitFor();
  const none = () => page.locator('#refused-none, #limits-none').allTextContents();
  assert.deepEqual(await none(), ['Nothing is known yet.', 'Nothing is known yet.']);
  assert.match(await page.locator('#key-why').textContent(), /^Send a key/);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'key-text');
  assert.equal(watched.requests('/v1/stats').length, 1, 'it asks no more until there is a key');

  await use('not-a-key-of-the-file');
  await page.locator('#key-why').filter({ hasText: /^The key is not one/ }).waitFor();
  assert.equal(watched.requests('/v1/stats').length, 2);
  await use(reader);
  await watched.says(/^Live/);
  assert.deepEqual(await none(), ['None since the start.', 'None since the start.']);
  assert.ok(await page.locator('#key').isHidden());

  const kept = await page.evaluate(() => [JSON.stringify({ ...sessionStorage }), localStorage.length, document.cookie, location.href, document.documentElement.outerHTML]);
  assert.equal(kept[0], JSON.stringify({ 'turbine-key': reader }));
  assert.deepEqual([kept[1], kept[2]], [0, '']);
  assert.ok(!kept[3].includes(reader) && !kept[4].includes(reader));
  await page.reload();
  await watched.says(/^Live/);

  // What the key is not for, the server refuses with a word about the scope.
  await page.locator('#drain').click();
  await page.locator('#drain-form button[type=submit]').click();
  await page.locator('#drain-error').filter({ hasText: 'scope drain' }).waitFor();
  await page.locator('#drain-form button[value=cancel]').click();
  await page.locator('#search button').click();
  await page.locator('#session-rows button').click();
  await page.locator('#end-form button[type=submit]').click();
  await page.locator('#end-error').filter({ hasText: 'scope sessions' }).waitFor();
  await page.locator('#end-form button[value=cancel]').click();

  await page.locator('#forget').click();
  await page.locator('#key').waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await use(ender);
  await watched.says(/^Live/);
  await page.locator('#search button').click();
  await page.locator('#session-rows button').click();
  await page.locator('#end-form button[type=submit]').click();
  await page.locator('#session-rows').filter({ hasText: 'ended' }).waitFor();

  const other = await watched.context.newPage();
  await other.goto(page.url());
  await other.locator('#key').waitFor(); // another tab has none
  watched.check();
});
