// Chromium's own WebSocket and EventSource, from the control page to the subscriber listener:
// node clients.mjs CONTROL SUBSCRIBERS CHANNEL COUNT
// Prints what each of the two received, as soon as both have COUNT messages.

import { onLivePage } from './browser.mjs';

const [control, subscribers, channel, count] = process.argv.slice(2);

await onLivePage(control, (page) => page.evaluate(([subscribers, channel, count]) => {
  const webSocket = new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${subscribers}/ws/${channel}`), messages = [];
    socket.onmessage = (event) => {
      messages.push(event.data);
      if (messages.length === count) { socket.close(1000); resolve(messages); }
    };
    socket.onclose = (event) => reject(new Error(`closed with ${event.code}`));
  });
  const eventSource = new Promise((resolve, reject) => {
    const source = new EventSource(`http://${subscribers}/sse/${channel}`), messages = [];
    source.onmessage = (event) => {
      messages.push([event.lastEventId, event.data]);
      if (messages.length === count) { source.close(); resolve(messages); }
    };
    source.onerror = () => reject(new Error('the event stream broke'));
  });
  return Promise.all([webSocket, eventSource])
    .then(([webSocket, eventSource]) => ({ webSocket, eventSource }));
}, [subscribers, channel, Number(count)]));
