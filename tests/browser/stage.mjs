// What the scenarios of client.mjs have in common: a server that can be killed and started again
// in its place, a proxy that blocks, and the client in a page of Chromium that keeps what it got.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { createInterface } from 'node:readline';

/** The server's program, with two listeners that it keeps when it is started again. */
export class Server {
  constructor(program, flags) {
    Object.assign(this, { program, flags, listen: '127.0.0.1:0', control: '127.0.0.1:0' });
  }

  /**
   * Starts it, again and again if it ends at once as a supervisor does: after a SIGKILL the kernel
   * may hold the address until it has taken down the rings.
   */
  async start() {
    for (let tries = 1; !await this.serves(); tries += 1) {
      if (tries === 200) throw new Error('the server ended before it served, 200 times');
      await new Promise((resolve) => { setTimeout(resolve, 50); });
    }
    return this;
  }

  async serves() {
    const flags = ['--listen', this.listen, '--control', this.control, '--max-connections', '1000',
      '--shards', '2', '--drain', '0s', ...this.flags];
    this.child = spawn(this.program, flags, {
      stdio: ['ignore', 'pipe', 'inherit'], env: { PATH: process.env.PATH, NO_COLOR: '1' },
    });
    for await (const line of createInterface({ input: this.child.stdout })) {
      const [, listener, address] = /^ {2}(subscribers|control) +http:\/\/([^/ ]+)/.exec(line) ?? [];
      if (listener === 'subscribers') this.listen = address;
      if (listener === 'control') this.control = address;
      if (line.startsWith('  stentor subscribe news')) return true;
    }
    return false;
  }

  async kill() {
    this.child.kill('SIGKILL');
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
  }

  /** The position that a publication got. */
  async publish(channel, body, type = 'text/plain') {
    const headers = { 'Content-Type': type };
    const url = `http://${this.control}/publish/${channel}`;
    const answer = await fetch(url, { method: 'POST', body, headers });
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    return (await answer.json()).position;
  }
}

/** Passes requests on, but for those that `blocks` names: 'upgrade', or the start of a path. */
export async function blockingProxy(target, blocks) {
  const [host, port] = target.split(':');
  const blocked = new Set(blocks), sockets = new Set(), asked = [];
  const server = createServer((from, to) => {
    asked.push(from.url.split('?')[0]);
    if ([...blocked].some((start) => from.url.startsWith(start))) return to.writeHead(403).end('blocked');
    const { method, url: path, headers } = from;
    const onward = request({ host, port, method, path, headers }, (answer) => {
      to.writeHead(answer.statusCode, answer.headers);
      answer.pipe(to);
      answer.on('error', () => to.destroy());
    });
    onward.on('error', () => to.destroy());
    to.on('close', () => onward.destroy());
    onward.end();
  });
  server.on('connection', (socket) => sockets.add(socket));
  server.on('upgrade', (from, socket, head) => {
    asked.push('upgrade');
    socket.on('error', () => {});
    if (blocked.has('upgrade')) return socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    const onward = request({ host, port, path: from.url, headers: from.headers });
    onward.on('upgrade', (answer, server) => {
      const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`);
      server.on('error', () => socket.destroy());
      socket.on('close', () => server.destroy());
      server.pipe(socket).pipe(server);
    });
    onward.on('error', () => socket.destroy());
    onward.end(head);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => { sockets.forEach((socket) => socket.destroy()); server.close(); };
  return { address: `127.0.0.1:${server.address().port}`, blocked, asked, close };
}

/**
 * A page with a client, whose every callback is kept: `await visitor.kept()`. Its functions run in
 * the page, where `client` and `kept` are.
 */
export class Visitor {
  static async open(browser, address, options) {
    const visitor = new Visitor();
    visitor.page = await browser.newPage();
    visitor.page.on('pageerror', (error) => { visitor.complaint = error; });
    await visitor.page.goto(`http://${address}/stentor.js`);
    await visitor.page.evaluate(async ([{ tokens, ...options }, url]) => {
      const { Stentor } = await import(url);
      const kept = window.kept = { publications: [], gaps: [], subscribed: [], errors: [], transports: [] };
      // The first is shown with the first connection, and the second when that is no good any more.
      let shown = 0;
      const token = tokens && (() => tokens[Math.min(shown, tokens.length - 1)]);
      const client = window.client = new Stentor('/', { ...options, token });
      client.onstate = (state) => {
        if (state === 'connected') kept.transports.push(client.transport);
        else if (kept.transports.length) shown += 1;
      };
      const plain = ({ data, ...publication }) =>
        ({ ...publication, data: data instanceof Uint8Array ? { bytes: [...data] } : data });
      window.join = (channel, options) => client.subscribe(channel, {
        ...options,
        onPublication: (publication) => kept.publications.push(plain(publication)),
        onGap: (gap) => kept.gaps.push(gap),
        onSubscribed: (subscribed) => kept.subscribed.push(subscribed),
        onError: ({ code, message }) => kept.errors.push({ channel, code, message }),
      });
    }, [{ backoff: [20, 200], ...options }, `http://${address}/stentor.js`]);
    return visitor;
  }

  /** Runs a function in the page. */
  run(what, argument) { return this.page.evaluate(what, argument); }

  /** Subscribes, and waits until it is so. */
  async join(channels, options) {
    await this.run(([channels, options]) => channels.forEach((channel) => join(channel, options)), [channels, options]);
    await this.until((channels) =>
      channels.every((channel) => kept.subscribed.some((it) => it.channel === channel)), channels);
  }

  /** Waits until a function of the page says so. */
  async until(holds, argument) {
    try {
      await this.page.waitForFunction(holds, argument, { polling: 10 });
    } catch (error) {
      throw new Error(`${error.message}\n${holds}\n${JSON.stringify(await this.kept())}`);
    }
    if (this.complaint) throw this.complaint;
  }

  /** What was kept so far. */
  kept() { return this.run(() => kept); }

  close() { return this.page.close(); }
}
