// How the client's types are used, for the compiler.

import { Stentor, type Fault, type Gap, type Position, type Publication } from '../../clients/js/stentor.js';

const client = new Stentor('https://example.org', { transports: ['websocket', 'poll'], backoff: [100, 1000] });
client.onstate = (state, error?: Fault) => console.log(state === 'connected', client.transport === 'sse', error?.code);
const subscription = client.subscribe('news', {
  last: 3,
  onPublication: ({ channel, id, data, key }: Publication) => console.log(channel, id, data, key),
  onGap: ({ from, to }: Gap) => console.log(from, to),
  onSubscribed: ({ position }) => console.log(position),
  onError: ({ code, message }) => console.log(code, message),
});
const since: Position | undefined = subscription.since;
client.subscribe('more', { since });
const position: Promise<Position> = client.publish('chat', new Uint8Array(2), { key: 'a', version: 1, idempotency: 'b' });
subscription.unsubscribe();
client.close();
// @ts-expect-error: there is no such transport.
new Stentor('', { transports: ['carrier pigeon'] });
// @ts-expect-error: a position is a text.
client.subscribe('news', { since: 42 });
void position;
