// The client's promises, in Chromium and Node, against the real server: node client.mjs PROGRAM
// Prints the names of what holds.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import { chromium } from 'playwright-core';
import { Server, Visitor, blockingProxy } from './stage.mjs';

const [program, only] = process.argv.slice(2);
const TRANSPORTS = ['websocket', 'sse', 'poll'];
const HISTORY = ['--channels', 'chat publish=true history=1000; * history=100000'];

const scenarios = {
  /** Every kind of payload arrives, over each transport, behind the newest that were asked for. */
  async delivery({ server, visit }) {
    for (const transport of TRANSPORTS) {
      const [text, mixed] = [`text.${transport}`, `mixed/${transport}`];
      const ids = [];
      for (const word of ['one', 'two', 'three']) ids.push(await server.publish(text, word));
      const visitor = await visit({ transports: [transport] });
      await visitor.join([text], { last: 2 });
      await visitor.join([mixed]);
      ids.push(await server.publish(text, 'Grüße\n\nan "alle" ünd: so\u2028'));
      ids.push(await server.publish(mixed, '{"a": [1, "\\u2028"]}', 'application/json'));
      ids.push(await server.publish(mixed, Buffer.from([0, 255, 10, 13])));
      ids.push(await server.publish(mixed, '42'));
      await visitor.until(() => kept.publications.length >= 6);
      const { publications, gaps, errors } = await visitor.kept();
      const of = (channel) => publications.filter((it) => it.channel === channel);
      assert.deepEqual(of(text), [
        { channel: text, id: ids[1], data: 'two' },
        { channel: text, id: ids[2], data: 'three' },
        { channel: text, id: ids[3], data: 'Grüße\n\nan "alle" ünd: so\u2028' },
      ]);
      assert.deepEqual(of(mixed), [
        { channel: mixed, id: ids[4], data: { a: [1, '\u2028'] } },
        { channel: mixed, id: ids[5], data: { bytes: [0, 255, 10, 13] } },
        { channel: mixed, id: ids[6], data: '42' },
      ]);
      assert.deepEqual([gaps, errors], [[], []]);
      await visitor.close();
    }
  },

  /** A server with a journal is killed under publishing: all that was acknowledged comes, once, in order. */
  async journal({ startServer, visit, folder }) {
    const server = await startServer([...HISTORY, '--journal', joinPath(folder, 'journal')]);
    const visitors = [];
    for (const transport of TRANSPORTS) {
      const visitor = await visit({ transports: [transport] }, server.listen);
      await visitor.join(['numbers', 'quiet']);
      visitors.push(visitor);
    }
    const acknowledged = [];
    let number = 0;
    const publishTo = async (goal) => {
      while (acknowledged.length < goal) {
        number += 1;
        try {
          await server.publish('numbers', String(number));
          acknowledged.push(number);
        } catch { await server.restarted; }
      }
    };
    for (let round = 1; round <= 3; round += 1) {
      await publishTo(round * 40 - 20);
      const publishing = publishTo(round * 40);
      server.restarted = server.kill().then(() => server.start());
      await publishing;
      await server.restarted;
    }
    const last = String(acknowledged.at(-1));
    for (const visitor of visitors) {
      await visitor.until((last) => kept.publications.some(({ data }) => data === last), last);
      const { publications, gaps, errors } = await visitor.kept();
      const numbers = publications.map(({ data }) => Number(data));
      // One whose answer was lost may have been taken or not.
      assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b), 'once, in order');
      const taken = new Set(acknowledged);
      assert.deepEqual(numbers.filter((it) => taken.has(it)), acknowledged);
      assert.deepEqual([gaps, errors], [[], []]);
      await visitor.close();
    }
  },

  /** A server without a journal is killed: one gap for each channel, and then it goes on. */
  async gaps({ startServer, visit }) {
    for (const transport of TRANSPORTS) {
      const server = await startServer(HISTORY);
      const visitor = await visit({ transports: [transport] }, server.listen);
      await visitor.join(['a', 'b']);
      const before = { a: await server.publish('a', '1'), b: await server.publish('b', '1') };
      await visitor.until(() => kept.publications.length >= 2);
      await server.kill();
      await server.start();
      await visitor.until(() => kept.gaps.length >= 2);
      const after = { a: await server.publish('a', '2'), b: await server.publish('b', '2') };
      await visitor.until(() => kept.publications.length >= 4);
      const { publications, gaps } = await visitor.kept();
      for (const channel of ['a', 'b']) {
        const [gap, ...more] = gaps.filter((it) => it.channel === channel);
        assert.deepEqual([gap.from, more], [before[channel], []]);
        assert.equal(gap.to.split('-')[0], after[channel].split('-')[0], 'of the new epoch');
        assert.deepEqual(publications.filter((it) => it.channel === channel), [
          { channel, id: before[channel], data: '1' }, { channel, id: after[channel], data: '2' },
        ]);
      }
      await visitor.close();
      await server.kill();
    }
  },

  /** Where WebSocket is blocked events are streamed, where these are blocked too it polls, and back. */
  async blocked({ server, visit }) {
    for (const [blocks, fallback] of [[['upgrade'], 'sse'], [['upgrade', '/sse'], 'poll']]) {
      const proxy = await blockingProxy(server.listen, blocks);
      const visitor = await visit({ upgrade: 300 }, proxy.address);
      const channel = `blocked.${fallback}`;
      await visitor.join([channel]);
      await visitor.until((fallback) => client.transport === fallback, fallback);
      assert.equal(proxy.asked.findIndex((it) => it.startsWith(`/${fallback}`)) > proxy.asked.indexOf('upgrade'), true);
      assert.equal(await visitor.run(() => client.publish('chat', 1).catch(({ code }) => code)), 'no_websocket');
      let number = 0;
      const publishUntil = async (holds) => {
        while (!await holds()) await server.publish(channel, String(number += 1));
      };
      await publishUntil(() => number >= 20);
      proxy.blocked.delete('upgrade');
      await publishUntil(() => visitor.run(() => client.transport === 'websocket'));
      await publishUntil(() => visitor.run(() => kept.publications.length >= 40));
      await visitor.until((number) => kept.publications.length >= number, number);
      const { publications, gaps } = await visitor.kept();
      assert.deepEqual(publications.map(({ data }) => Number(data)), Array.from({ length: number }, (_, at) => at + 1));
      assert.deepEqual(gaps, []);
      await visitor.close();
      proxy.close();
    }
  },

  /** What may be published is, of every kind and often at once; what may not is refused with its code. */
  async publishing({ visit }) {
    const visitor = await visit();
    await visitor.join(['chat']);
    const positions = await visitor.run(async () => [
      await client.publish('chat', 'text'), await client.publish('chat', { json: [null] }),
      await client.publish('chat', new Uint8Array([1, 255])),
      ...await Promise.all(Array.from({ length: 10 }, (_, at) => client.publish('chat', 'x'.repeat(20_000) + at))),
    ]);
    const twice = await visitor.run(async () => [
      await client.publish('chat', 'once', { idempotency: 'a' }), await client.publish('chat', 'once', { idempotency: 'a' }),
    ]);
    assert.equal(twice[0], twice[1]);
    await visitor.until(() => kept.publications.length >= 14);
    const { publications } = await visitor.kept();
    assert.deepEqual(publications.map(({ id }) => id), [...positions, twice[0]]);
    assert.deepEqual(publications.slice(0, 3).map(({ data }) => data), ['text', { json: [null] }, { bytes: [1, 255] }]);
    assert.deepEqual(publications.slice(3).map(({ data }) => data.slice(-1)), [...'0123456789e']);
    assert.equal(await visitor.run(() => client.publish('news', 1).catch(({ code }) => code)), 'forbidden');
    await visitor.close();
  },

  /** A bad channel ends its own subscription alone; unsubscribing is at once; many at once fit one connection. */
  async subscriptions({ server, visit }) {
    for (const transport of TRANSPORTS) {
      const visitor = await visit({ transports: [transport] });
      await visitor.run(() => { window.bad = join('no spaces'); window.good = join('good'); });
      await visitor.until(() => kept.errors.length >= 1 && kept.subscribed.some(({ channel }) => channel === 'good'));
      const thrown = await visitor.run(() => { try { join('good'); } catch ({ code }) { return code; } });
      assert.equal(thrown, 'already_subscribed');
      // Whoever unsubscribes and subscribes anew begins anew: behind what was there already.
      await server.publish('good', 'kept');
      await visitor.until(() => kept.publications.length >= 1);
      const count = (await visitor.kept()).subscribed.length;
      await visitor.run(() => { good.unsubscribe(); join('good', { last: 1 }); });
      await visitor.until((count) => kept.subscribed.length > count && kept.publications.length >= 2, count);
      await server.publish('good', 'new');
      await visitor.until(() => kept.publications.length >= 3);
      const { publications, errors } = await visitor.kept();
      assert.deepEqual(publications.map(({ data }) => data), ['kept', 'kept', 'new']);
      assert.equal(errors.length, 1);
      assert.equal(errors[0].channel, 'no spaces');
      await server.publish('good', 'for the next round alone');
      await visitor.run(() => client.close());
      assert.equal(await visitor.run(() => client.state), 'closed');
      await visitor.close();
    }
    const visitor = await visit();
    const channels = Array.from({ length: 100 }, (_, at) => `many.${at}`);
    await visitor.join(channels);
    for (const channel of channels) await server.publish(channel, channel);
    await visitor.until(() => kept.publications.length >= 100);
    const { publications } = await visitor.kept();
    // Between channels no order is promised.
    const got = publications.map(({ channel, data }) => `${channel} ${data}`);
    assert.deepEqual(got.sort(), channels.map((it) => `${it} ${it}`).sort());
    await visitor.close();
  },

  /** A token that runs out costs a connection and no publication; what none grants is refused. */
  async tokens({ startServer, visit, folder }) {
    const [file, secret] = [joinPath(folder, 'token.key'), 'a secret of more than thirty-two bytes'];
    writeFileSync(file, secret);
    const server = await startServer(['--token-key', file, '--channels', '* subscribe=token history=10']);
    const part = (it) => Buffer.from(JSON.stringify(it)).toString('base64url');
    const sign = (seconds) => {
      const exp = Math.floor(Date.now() / 1000) + seconds;
      const signed = `${part({ alg: 'HS256' })}.${part({ exp, subscribe: ['news.*'] })}`;
      return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
    };
    for (const transport of TRANSPORTS) {
      const channel = `news.${transport}`;
      // The first ends after some five seconds: 30 are the leeway.
      const visitor = await visit({ transports: [transport], tokens: [sign(-25), sign(600)] }, server.listen);
      await visitor.join([channel]);
      await visitor.run(() => join('other'));
      await visitor.until(() => kept.errors.length === 1);
      const ids = [await server.publish(channel, 'one')];
      await visitor.until(() => kept.publications.length === 1);
      // A poll that waits is answered, and the next one shows the other.
      await visitor.until((least) => kept.transports.length >= least, transport === 'poll' ? 1 : 2);
      ids.push(await server.publish(channel, 'two'));
      await visitor.until(() => kept.publications.length >= 2);
      const { publications, errors } = await visitor.kept();
      assert.deepEqual(publications, ids.map((id, at) => ({ channel, id, data: ['one', 'two'][at] })));
      assert.deepEqual(errors.map(({ channel, code }) => [channel, code]),
        [['other', transport === 'websocket' ? 'forbidden' : 403]]);
      await visitor.close();
    }
  },

  /** The same module runs in Node. */
  async node({ server }) {
    const { Stentor } = await import('../../clients/js/stentor.js');
    const client = new Stentor(`http://${server.listen}`, { backoff: [20, 200] });
    const [subscribed, published] = ['onSubscribed', 'onPublication'].map((name) => {
      const event = {};
      event.came = new Promise((resolve) => { event[name] = resolve; });
      return event;
    });
    client.subscribe('node', { ...subscribed, ...published });
    await subscribed.came;
    const id = await server.publish('node', 'hello');
    assert.deepEqual(await published.came, { channel: 'node', id, data: 'hello' });
    client.close();
  },
};

const folder = mkdtempSync(joinPath(tmpdir(), 'stentor-client-'));
const servers = [];
const startServer = async (flags) => {
  const server = new Server(program, flags);
  servers.push(server);
  return server.start();
};
const browser = await chromium.launch({
  executablePath: process.env.STENTOR_TEST_CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  timeout: 60_000,
});
try {
  const server = await startServer(HISTORY);
  const visit = (options, address = server.listen) => Visitor.open(browser, address, options);
  const held = [];
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (only && name !== only) continue;
    try {
      await scenario({ server, startServer, visit, folder });
    } catch (error) {
      error.message = `${name}: ${error.message}`;
      throw error;
    }
    held.push(name);
  }
  console.log(JSON.stringify(held));
} finally {
  await browser.close();
  for (const server of servers) await server.kill();
  rmSync(folder, { recursive: true });
}
