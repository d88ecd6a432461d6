// Loads the page in a real browser and prints what it shows, one JSON object a line.
//
//   node browser.js --chromium /usr/bin/chromium --page URL --screenshot FILE
//
// When the page is done and only waits for the server to close its sessions,
// {"ready":true} is printed: the server has to end now. The exit code is 0 when
// both sessions did all of their steps and were closed, 1 otherwise.
'use strict';

const { parseArgs } = require('node:util');
const { chromium } = require('playwright-core');

const patience = 30_000; // milliseconds, for each thing waited for

const { values: options } = parseArgs({
  options: { chromium: { type: 'string' }, page: { type: 'string' }, screenshot: { type: 'string' } },
});

async function main() {
  // A browser started this way has a new profile, which is removed at the end.
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
    print({ browser: browser.version() });
    const page = await browser.newPage({ viewport: { width: 1000, height: 760 } });
    page.setDefaultTimeout(patience);
    page.on('console', (m) => m.type() === 'error' && print({ console: m.text() }));
    page.on('pageerror', (err) => {
      print({ pageerror: err.message });
      process.exitCode = 1;
    });
    const websockets = {};
    page.on('websocket', (ws) => {
      const session = new URL(ws.url()).searchParams.get('session');
      websockets[session] = (websockets[session] || 0) + 1;
    });

    await page.goto(options.page);
    try {
      await page.waitForFunction(() => Object.values(window.sessions).every((s) => s.ready || s.failure));
      await fail(page);
      print({ ready: true });
      await page.waitForFunction(() => Object.values(window.sessions).every((s) => s.closed));
      await fail(page);
    } finally {
      for (const row of await page.evaluate(() => window.rows)) print(row);
      for (const session of await page.evaluate(() => Object.keys(window.sessions))) {
        print({ session, step: 'websockets', result: String(websockets[session] || 0) });
      }
      await page.screenshot({ path: options.screenshot, fullPage: true });
    }
  } finally {
    await browser.close();
  }
}

// fail throws what the sessions say has gone wrong, if anything.
async function fail(page) {
  const failures = await page.evaluate(() =>
    Object.values(window.sessions).filter((s) => s.failure).map((s) => `session ${s.name}: ${s.failure}`));
  if (failures.length > 0) throw new Error(failures.join('; '));
}

function print(line) {
  console.log(JSON.stringify(line));
}

main().catch((err) => {
  print({ error: err.message });
  process.exitCode = 1;
});
