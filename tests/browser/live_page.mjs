// The console of the dashboard as a visitor uses it: node live_page.mjs CONTROL [FOLDER]
// Over each transport: subscribes, publishes, misses a publication, and resumes or asks for the newest.
// Prints what the page then shows. With a folder it leaves pictures there.

import { onLivePage } from './browser.mjs';

const [control, folder] = process.argv.slice(2);

await onLivePage(control, async (page) => {
  const picture = async (name) => {
    if (folder) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
  };
  const press = (name) => page.getByRole('button', { name }).click();
  const publish = async (payload, readers) => {
    await page.getByLabel('Payload').fill(payload);
    await press(/^Publish to/);
    await page.locator('#published').getByText(`to ${readers}.`).waitFor();
  };
  const newest = page.locator('#log li pre').first();
  const seen = [];
  await picture('1-fresh');
  for (const [transport, label] of [['ws', 'WebSocket'], ['sse', 'Server-sent events'], ['v1', 'stentor.v1']]) {
    await page.getByLabel('Channel', { exact: true }).fill(`visitors.${transport}`);
    await page.getByLabel(label, { exact: true }).check();
    await page.getByLabel('Begin', { exact: true }).selectOption('live');
    await press('Subscribe');
    await page.getByText(`Subscribed to visitors.${transport}.`).waitFor();
    await publish(`<b>over</b> ${transport}\nsecond line & more`, '1 subscriber');
    await newest.getByText(`over</b> ${transport}`).waitFor();
    seen.push(await newest.textContent());
    await page.waitForFunction(() => document.querySelector('#connections b').textContent === '1');
    await picture(`2-${transport}`);
    await press('Unsubscribe');
    await page.getByText('Not subscribed.').waitFor();
    await page.waitForFunction(() => document.querySelector('#connections b').textContent === '0');
    await publish(`missed over ${transport}`, '0 subscribers');
    if (transport === 'ws') {
      // It has no positions: what was missed is the newest that is kept.
      await page.getByLabel('Begin', { exact: true }).selectOption('last');
      await page.getByLabel('How many').fill('1');
      await press('Subscribe');
    } else await press(/^Resume behind [0-9a-f]+-[0-9]+$/);
    await newest.getByText(`missed over ${transport}`).waitFor();
    seen.push(await newest.textContent());
    await press('Unsubscribe');
    await page.getByText('Not subscribed.').waitFor();
  }
  await page.waitForFunction(() => document.querySelector('#deliveries p').textContent === '6 in all');
  // A position in the log is where the next subscription begins, if it is chosen; one that is not the server's is a gap.
  await page.locator('#log li code button').first().click();
  await page.getByLabel('Position').fill('1-1');
  await press('Subscribe');
  await page.getByText('Subscribed to visitors.v1.').waitFor();
  await page.locator('#log li.gap').waitFor();
  const gap = await page.locator('#log li.gap pre').textContent();
  await press('Unsubscribe');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture('3-dark');
  await page.setViewportSize({ width: 360, height: 800 });
  await picture('4-phone');
  return { seen, gap: gap.replace(/up to .*-/, 'up to …-') };
});
