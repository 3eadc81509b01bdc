// The dashboard of a server that wants keys, and tokens: node keyed.mjs CONTROL SECRET READER EDITOR
// The reader's key shows and does not publish, the editor's does; a token signed with SECRET subscribes.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';

import { onLivePage } from './browser.mjs';

const [control, secret, reader, editor] = process.argv.slice(2);
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const claims = { sub: 'visitor', exp: Math.floor(Date.now() / 1000) + 600, subscribe: ['news'] };
const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
const token = `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;

await onLivePage(control, async (page) => {
  const press = (name) => page.getByRole('button', { name, exact: true }).click();
  const give = async (key) => {
    await page.getByLabel('Key, or token').fill(key);
    await press('Use it');
    await page.locator('#server', { hasText: 'Serving' }).waitFor();
  };
  const publish = async () => {
    await page.locator('#published').evaluate((output) => { output.textContent = ''; });
    await page.getByRole('button', { name: /^Publish to/ }).click();
    await page.waitForFunction(() => document.querySelector('#published').textContent);
    return page.locator('#published').textContent();
  };
  await give(reader);
  assert.match(await publish(), /^403: /);
  await press('Another key');
  await give(editor);
  assert.match(await publish(), /^Published at [0-9a-f]+-1, to 0 subscribers\.$/);
  await page.getByLabel('Begin', { exact: true }).selectOption('last');
  const seen = [];
  for (const label of ['WebSocket', 'Server-sent events', 'stentor.v1']) {
    await page.getByLabel(label, { exact: true }).check();
    await page.getByLabel('Channel', { exact: true }).fill('news');
    await page.evaluate(() => { document.querySelector('#subscribe details').open = true; });
    await page.getByLabel('For channels that are not for everybody').fill('');
    await press('Subscribe');
    await page.locator('#state.bad').waitFor();
    seen.push(await page.locator('#log li').count());
    if (await page.locator('#toggle').textContent() === 'Unsubscribe') await press('Unsubscribe');
    await page.getByLabel('For channels that are not for everybody').fill(token);
    await press('Subscribe');
    await page.getByText('Subscribed to news.').waitFor();
    await page.locator('#log li pre').first().waitFor();
    seen.push(await page.locator('#log li pre').allTextContents());
    await press('Unsubscribe');
    await press('Clear');
  }
  return seen;
}, { tolerated: /^(Failed to load resource: the server responded with a status of 40[13]|WebSocket connection to .* failed|EventSource)/ });
