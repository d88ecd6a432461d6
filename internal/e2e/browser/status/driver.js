// What the tests of the status page share: the browser, the test in Go that has started
// them, and what is never allowed to happen on the page.
'use strict';

const assert = require('node:assert/strict');
const readline = require('node:readline');
const { parseArgs } = require('node:util');
const { chromium } = require('playwright-core');

const patience = 30_000; // milliseconds, for each thing waited for

const { values: options } = parseArgs({
  options: { chromium: { type: 'string' }, page: { type: 'string' }, screenshots: { type: 'string' } },
});

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const print = (line) => console.log(JSON.stringify(line));

// go has the test in Go do something, and returns what it answers.
async function go(step) {
  print({ step });
  const { value, done } = await lines.next();
  assert.ok(!done, `nobody answers ${step}`);
  return JSON.parse(value);
}

// run runs a test in a browser of its own.
async function run(test) {
  const browser = await chromium.launch({
    executablePath: options.chromium, headless: true, timeout: patience,
    args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    await test(browser);
  } catch (error) {
    print({ error: error.stack });
    process.exitCode = 1;
  } finally {
    await browser.close();
    process.stdin.destroy();
  }
}

// A Watched page is the status page, and all that it asks for. check fails on what is
// never allowed: a request to elsewhere, a violation of its policy, a script that fails.
class Watched {
  static async open(browser, contextOptions = {}, before = async () => {}) {
    const watched = new Watched();
    watched.context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...contextOptions });
    watched.page = await watched.context.newPage();
    watched.watch();
    await before(watched.page);
    await watched.page.goto(options.page);
    return watched;
  }

  watch() {
    const { page } = this;
    this.asked = []; // of each request, its method, path and query
    this.trouble = [];
    page.setDefaultTimeout(patience);
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.origin !== new URL(options.page).origin) this.trouble.push(`a request to ${url}`);
      this.asked.push({ method: request.method(), path: url.pathname, query: url.searchParams });
    });
    page.on('pageerror', (error) => this.trouble.push(error.stack));
    page.on('console', (message) => {
      // A browser tells of each answer that is an error, and of nobody who answers: that is
      // what some tests are about.
      if (!/^Failed to load resource/.test(message.text())) this.trouble.push(`${message.type()}: ${message.text()}`);
    });
  }

  requests(path) { return this.asked.filter((request) => request.path === path); }

  check() { assert.deepEqual(this.trouble, []); }

  // says waits until the status line is like that.
  async says(pattern) {
    await this.page.locator('#state').filter({ hasText: pattern }).waitFor();
  }

  tile(name) { return this.page.locator('#now div').filter({ has: this.page.locator('dt', { hasText: new RegExp(`^${name}$`) }) }).locator('dd'); }

  // until waits until what read returns passes.
  async until(read, passes) {
    for (const end = Date.now() + patience; ;) {
      const value = await read();
      if (passes(value)) return value;
      assert.ok(Date.now() < end, `still ${JSON.stringify(value)}`);
      await this.page.waitForTimeout(50);
    }
  }

  // fits fails if the page is wider than the window, and names what is.
  async fits() {
    assert.deepEqual(await this.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      if (scrollWidth <= clientWidth) return [];
      const wide = [...document.body.querySelectorAll('*')].filter((e) => e.getBoundingClientRect().right > clientWidth + 0.5 || e.scrollWidth > e.clientWidth + 1);
      return [`${scrollWidth} of ${clientWidth} pixels`, ...wide.map((e) => `${e.tagName} ${e.id} ${e.className} ${e.textContent.slice(0, 30)}`)];
    }), []);
  }
}

const number = (text) => Number(text.replaceAll(',', '').match(/^[\d.]+/)?.[0] ?? NaN);

module.exports = { Watched, assert, go, number, options, print, run };
