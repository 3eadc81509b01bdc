// The live page as a visitor uses it: node live_page.mjs CONTROL [FOLDER]
// Subscribes over each transport, publishes, and prints what the page then shows. With a folder it
// leaves pictures there.

import { onLivePage } from './browser.mjs';

const [control, folder] = process.argv.slice(2);

await onLivePage(control, async (page) => {
  const picture = async (name) => {
    if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
  };
  const seen = [];
  await picture('1-fresh');
  for (const [transport, label] of [['ws', 'WebSocket'], ['sse', 'Server-sent events']]) {
    await page.getByLabel('Channel').fill(`visitors.${transport}`);
    await page.getByLabel(label).check();
    await page.getByRole('button', { name: 'Subscribe', exact: true }).click();
    await page.getByText(`Subscribed to visitors.${transport}.`).waitFor();
    await page.getByLabel('Payload').fill(`<b>over</b> ${transport}\nsecond line & more`);
    await page.getByRole('button', { name: /^Publish to/ }).click();
    const message = page.locator('#log li pre').first();
    await message.getByText(transport).waitFor();
    await page.getByText(/^Published at .*, to 1 subscriber\.$/).waitFor();
    seen.push(await message.textContent());
    await page.waitForFunction(() => document.querySelector('#connections b').textContent === '1');
    await picture(`2-${transport}`);
    await page.getByRole('button', { name: 'Unsubscribe' }).click();
    await page.getByText('Not subscribed.').waitFor();
  }
  await page.waitForFunction(() => document.querySelector('#deliveries p').textContent === '2 in all');
  await page.emulateMedia({ colorScheme: 'dark' });
  await picture('3-dark');
  await page.setViewportSize({ width: 390, height: 800 });
  await picture('4-narrow');
  const shown = await page.locator('#log li').count();
  return { seen, shown };
});
