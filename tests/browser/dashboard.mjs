// The dashboard's numbers: node dashboard.mjs CONTROL [FOLDER]
// Prints what it shows of the server, once that says that it has delivered what EXPECTED names; then
// shows it answers that no test can make for real, and holds it to what it must say of them.

import assert from 'node:assert/strict';

import { onLivePage } from './browser.mjs';

const [control, folder] = process.argv.slice(2);
const text = (page, selector) => page.locator(selector).textContent();
const table = (page, id) => page.locator(`#${id} tbody tr`).evaluateAll((rows) =>
  rows.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));

await onLivePage(control, async (page) => {
  const picture = async (name) => {
    if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  };
  await page.locator('#slowest tbody tr').first().waitFor();
  await page.locator('#busiest tbody tr').first().waitFor();
  const tiles = {};
  for (const id of ['connections', 'publications', 'deliveries', 'blocked']) {
    tiles[id] = [await text(page, `#${id} b`), await text(page, `#${id} p`)];
  }
  tiles.publications.shift();
  tiles.deliveries.shift();
  tiles.blocked.pop();
  const shown = { tiles, busiest: await table(page, 'busiest'), slowest: await table(page, 'slowest') };
  shown.pill = await text(page, '#server');
  await keys(page);
  await picture('1-real');
  await fakes(page, picture);
  await contrast(page);
  return shown;
}, { tolerated: /^Failed to load resource: (net::ERR_|the server responded with a status of 401)/ });

/* A plot is a slider over its moments: its keys go from one to the next, and it says each. */
async function keys(page) {
  const area = page.locator('#connections .area');
  await page.waitForFunction(() => document.querySelector('#connections .line').getAttribute('d').split(' ').length > 3);
  await area.focus();
  const said = () => area.getAttribute('aria-valuetext');
  await page.keyboard.press('ArrowLeft');
  const tip = await page.locator('#connections .tip').innerText();
  assert.match(tip, /^\d\d:\d\d:\d\d\n\d+$/);
  assert.equal(await said(), tip.replace('\n', ', '));
  await page.keyboard.press('Home');
  assert.ok(Number(await area.getAttribute('aria-valuenow')) <= -2);
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('#connections .tip').isVisible(), false);
}

/* Answers that are given in the server's place. */
async function fakes(page, picture) {
  const real = await (await page.request.get(new URL('/stats', page.url()).href)).json();
  const answer = (path, body) => page.route((url) => url.pathname === path, (route) => route.fulfill({ json: body() }));
  let second = 0;
  await answer('/stats', () => {
    second += 1;
    const histogram = (counts) => ({ ...real.sweeps, counts: real.sweeps.counts.map((_, at) => second * (counts[at] ?? 0)), sum_us: 0 });
    return { ...real, connections: { total: 1_234_567, websocket: 1_000_000, sse: 234_000, json: 567, other: 0 },
      publications: 50 * second, deliveries: 61_728_350 * second, sends: 6_172_835 * second, blocked: 4_321,
      channels: 12_345_678, uptime_seconds: 200_000, resident_bytes: 1_610_612_736, draining: second > 100,
      sweeps: histogram([98, 0, 0, 0, 2]), delivered_last: histogram([]) };
  });
  const hostile = '<img src=x onerror=alert(1)>';
  const input = { name: hostile, kind: 'nats', place: `nats://${'h'.repeat(300)}`, channel: '{subject}', positions: 'bus', connected: false,
    ready: true, problem: hostile, records: 0, bytes: 0, skipped: {}, holes: 0, reconnects: 1, lag: 5_000_000, last_record_ms: null };
  await answer('/inputs', () => ({ inputs: [{ ...input, records: 2_000_000_000 }], publish_to: null }));
  const name = `long.${'n'.repeat(250)}`;
  await answer('/busiest', () => ({ channels: [{ channel: name, subscribers: 1_234_567, publications_per_second: 50, deliveries_per_second: 61_728_350 }] }));
  await answer('/lag', () => ({ patterns: [], slowest: [] }));
  await page.reload();
  await page.waitForFunction(() => /^[\d.]+M\/s$/.test(document.querySelector('#deliveries b').textContent));
  assert.equal(await text(page, '#connections b'), '1.23M');
  assert.equal(await text(page, '#connections p'), '1M WS, 234,000 SSE, 567 JSON');
  assert.equal(await text(page, '#coalescing b'), '× 10');
  assert.equal(await text(page, '#sweeps b'), '6.5 ms', 'half way through the last two of a hundred, from 3 to 10 ms');
  assert.match(await text(page, '#sweeps p'), /^p99; p50 51 µs$/);
  assert.equal(await text(page, '#blocked b'), '4,321');
  assert.equal(await text(page, '#memory b'), '1.5 GiB');
  assert.match(await text(page, '#about'), / · up 2 d 7 h · 2 shards · 12\.3M channels/);
  await page.locator('#inputs tbody tr').waitFor();
  assert.equal(await text(page, '#inputs td:first-child span'), hostile);
  assert.equal(await page.locator('img').count(), 0);
  await page.locator('#busiest tbody tr').waitFor();
  const [row] = await table(page, 'busiest');
  assert.equal(row[0], name);
  assert.deepEqual(row.slice(1), ['61.7M/s', '50/s', '1.23M']);
  await picture('2-million');
  for (const width of [360, 768, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} at ${width}`);
    if (width === 360) await picture('3-million-phone');
  }
  second = 101;
  await page.locator('#server', { hasText: 'Draining' }).waitFor();
  // The server is gone, and comes back.
  let gone = true;
  await page.route((url) => url.pathname === '/stats', (route) => (gone ? route.abort('connectionrefused') : route.fallback()));
  await page.locator('#server', { hasText: 'Not answering' }).waitFor();
  await picture('4-gone');
  gone = false;
  await page.locator('#server', { hasText: 'Draining' }).waitFor();
  // It wants a key, does not take the first, and takes the second, which a reload keeps.
  const wanted = [];
  await page.route((url) => url.pathname === '/stats', (route) => {
    const key = route.request().headers().authorization;
    if (wanted.at(-1) !== key) wanted.push(key);
    return key === 'Bearer right' ? route.fallback() : route.fulfill({ status: 401, body: 'no' });
  });
  await page.locator('#key').waitFor();
  assert.equal(await text(page, '#server'), 'Wants a key');
  for (const key of ['wrong', ' right ']) {
    await page.getByLabel('Key, or token').fill(key);
    await page.getByRole('button', { name: 'Use it' }).click();
    if (key === 'wrong') await page.getByText('The server does not take this key. Another?').waitFor();
  }
  await page.locator('#server', { hasText: 'Draining' }).waitFor();
  assert.equal(await page.locator('#key').isVisible(), false);
  await page.reload();
  await page.locator('#server', { hasText: 'Draining' }).waitFor();
  assert.deepEqual(wanted, ['Bearer wrong', 'Bearer right']);
}

/* Every text colour on every ground it stands on, by WCAG's measure: 4.5 for texts, 3 for lines. */
async function contrast(page) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const colours = await page.evaluate(() => Object.fromEntries(['ground', 'card', 'edge', 'ink', 'quiet', 'accent', 'on-accent', 'second', 'good', 'bad', 'warn']
      .map((name) => [name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()])));
    const light = (hex) => {
      const full = hex.length === 4 ? hex.replace(/[^#]/g, '$&$&') : hex;
      const [r, g, b] = [1, 3, 5].map((at) => parseInt(full.slice(at, at + 2), 16) / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (one, other) => {
      const [more, less] = [light(colours[one]), light(colours[other])].sort((a, b) => b - a);
      return (more + 0.05) / (less + 0.05);
    };
    for (const ground of ['ground', 'card']) {
      for (const ink of ['ink', 'quiet', 'accent', 'good', 'bad', 'warn']) assert.ok(ratio(ink, ground) >= 4.5, `${colorScheme}: ${ink} on ${ground} ${ratio(ink, ground)}`);
      for (const line of ['edge', 'second']) assert.ok(ratio(line, ground) >= 3, `${colorScheme}: ${line} on ${ground} ${ratio(line, ground)}`);
    }
    assert.ok(ratio('on-accent', 'accent') >= 4.5, `${colorScheme}: buttons`);
  }
}
