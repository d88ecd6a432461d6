// Two people chat in a real browser, and a third comes later.
//
//   node browser.js --chromium /usr/bin/chromium --page URL --screenshots FOLDER
//
// It prints a line of JSON for each step. After {"step":"end"} the server has to
// end, and after {"step":"start"} to come back at the same address: the pages then
// join again by themselves. The exit code is 0 when all was as it should be.
'use strict';

const path = require('node:path');
const { parseArgs } = require('node:util');
const { chromium } = require('playwright-core');

const patience = 120_000; // milliseconds, for each thing waited for

const { values: options } = parseArgs({
  options: { chromium: { type: 'string' }, page: { type: 'string' }, screenshots: { type: 'string' } },
});

// What would run if a name or a message were taken for HTML.
const evil = '<img src=x onerror="window.taken=1">';

async function main() {
  const browser = await chromium.launch({
    executablePath: options.chromium,
    headless: true,
    timeout: patience,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync',
    ],
  });
  try {
    await chat(browser);
  } finally {
    await browser.close();
  }
}

async function chat(browser) {
  const ada = await open(browser);
  await join(ada, 'Ada', 'tea');
  await has(ada, '#name', '# tea');
  await has(ada, '#status', 'connected by websocket');
  step('ada is in');

  const bob = await open(browser);
  await join(bob, 'ADA', 'tea');
  await has(bob, '#error', 'somebody here is called Ada already');
  await join(bob, `Bob <b>`, 'tea');
  await has(bob, '#who', 'AdaBob <b>');
  await has(ada, '#who', 'AdaBob <b>');
  step('bob is in');

  await say(ada, 'Tea is ready.');
  await said(bob, 'Ada', 'Tea is ready.');
  await say(bob, `${evil} Grüße, Ελληνικά, 😀`);
  await said(ada, 'Bob <b>', `${evil} Grüße, Ελληνικά, 😀`);
  await say(ada, 'That is text to us: <script>window.taken=1</script> & "more"');
  await said(bob, 'Ada', 'That is text to us: <script>window.taken=1</script> & "more"');
  step('they talk');

  const eve = await open(browser);
  await join(eve, 'Eve', 'tea');
  await said(eve, 'Ada', 'Tea is ready.');
  await said(eve, 'Bob <b>', `${evil} Grüße, Ελληνικά, 😀`);
  await has(ada, '#said', 'Eve has come');
  await eve.click('#leave');
  await eve.waitForSelector('#door', { state: 'visible' });
  await has(ada, '#said', 'Eve has gone');
  await has(ada, '#who', 'AdaBob <b>');
  await join(eve, 'Eve', 'elsewhere');
  await say(eve, 'Nobody hears this.');
  await said(eve, 'Eve', 'Nobody hears this.');
  await say(bob, 'Gone.');
  await said(ada, 'Bob <b>', 'Gone.');
  step('eve came and went');

  for (const [name, page] of Object.entries({ ada, bob })) {
    const text = await page.textContent('#said');
    if (text.includes('Nobody hears this.')) throw new Error(`${name} heard what was said elsewhere`);
    if ((await page.$$('#said img, #said script, #who b')).length > 0) throw new Error(`${name}: text became HTML`);
    await page.screenshot({ path: path.join(options.screenshots, `chat-${name}.png`) });
  }
  step('end');
  for (const page of [ada, bob]) await has(page, '#status', 'connection lost, trying again');
  step('start');
  for (const page of [ada, bob]) await has(page, '#status', 'connected by websocket');
  for (const page of [ada, bob]) await has(page, '#who', /^(AdaBob <b>|Bob <b>Ada)$/);
  await say(ada, 'Back again.');
  await said(bob, 'Ada', 'Back again.');
  for (const page of [ada, bob, eve]) {
    if (await page.evaluate(() => window.taken)) throw new Error('a script from a message ran');
  }
  step('they are back');
}

// open shows the page to somebody new.
async function open(browser) {
  const context = await browser.newContext({ viewport: { width: 860, height: 640 } });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  page.on('pageerror', (err) => fail(err));
  page.on('console', (m) => /Content.Security.Policy/i.test(m.text()) && fail(new Error(m.text())));
  await page.goto(options.page);
  return page;
}

async function join(page, nick, room) {
  await page.fill('#door [name=nick]', nick);
  await page.fill('#door [name=room]', room);
  await page.click('#door button');
}

async function say(page, text) {
  await page.fill('#say [name=text]', text);
  await page.click('#say button');
}

// said waits until somebody has said just that.
async function said(page, nick, text) {
  await page.waitForFunction(
    ([nick, text]) => [...document.querySelectorAll('#said li')].some(
      (li) => li.querySelector('b')?.textContent === nick && li.lastChild.textContent === text),
    [nick, text]);
}

// has waits until an element's text matches, or has a text in it.
async function has(page, selector, what) {
  try {
    await page.waitForFunction(
      ([selector, source, flags]) => new RegExp(source, flags).test(document.querySelector(selector).textContent),
      what instanceof RegExp ? [selector, what.source, what.flags]
        : [selector, what.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), '']);
  } catch (err) {
    throw new Error(`${selector} is "${await page.textContent(selector)}", not "${what}": ${err.message}`);
  }
}

function step(name) {
  console.log(JSON.stringify({ step: name }));
}

function fail(err) {
  console.log(JSON.stringify({ error: err.stack }));
  process.exitCode = 1;
}

main().catch(fail);
