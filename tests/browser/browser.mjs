// A page of the control listener in Debian's Chromium, for the scenarios beside this file.

import { chromium } from 'playwright-core';

/**
 * Opens the dashboard, runs `scenario` on it, and ends the browser whatever happens. What the page complains of
 * fails it, but for lines that are `tolerated`.
 */
export async function onLivePage(control, scenario, { tolerated = /^$/ } = {}) {
  const browser = await chromium.launch({
    executablePath: process.env.STENTOR_TEST_CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    timeout: 60_000,
  });
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    const complaints = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (line) => { if (line.type() === 'error' && !tolerated.test(line.text())) complaints.push(line.text()); });
    await page.goto(control);
    const found = await scenario(page);
    if (complaints.length > 0) throw new Error(`the page complained: ${complaints.join('; ')}`);
    console.log(JSON.stringify(found));
  } finally {
    await browser.close();
  }
}
