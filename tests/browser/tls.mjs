// Chromium's own WebSocket and EventSource by TLS, from a page of the TLS address itself:
// node tls.mjs URL CHANNEL COUNT HASH
// HASH is that of the server's key, which is trusted. Prints what each of the two received.

import { chromium } from 'playwright-core';

const [url, channel, count, hash] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath: process.env.STENTOR_TEST_CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu',
    `--ignore-certificate-errors-spki-list=${hash}`],
  timeout: 60_000,
});
try {
  const page = await browser.newPage();
  await page.goto(`${url}/stentor.js`);
  const found = await page.evaluate(([url, channel, count]) => {
    const webSocket = new Promise((resolve, reject) => {
      const socket = new WebSocket(`${url.replace('https', 'wss')}/ws/${channel}`), messages = [];
      socket.onmessage = (event) => {
        messages.push(event.data);
        if (messages.length === count) { socket.close(1000); resolve(messages); }
      };
      socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
    });
    const eventSource = new Promise((resolve, reject) => {
      const source = new EventSource(`${url}/sse/${channel}`), messages = [];
      source.onmessage = (event) => {
        messages.push(event.data);
        if (messages.length === count) { source.close(); resolve(messages); }
      };
      source.onerror = () => reject(new Error('the event stream broke'));
    });
    return Promise.all([webSocket, eventSource])
      .then(([webSocket, eventSource]) => ({ webSocket, eventSource }));
  }, [url, channel, Number(count)]);
  console.log(JSON.stringify(found));
} finally {
  await browser.close();
}
