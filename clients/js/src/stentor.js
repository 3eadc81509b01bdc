// Stentor's client: any number of channels over one WebSocket, or where that is blocked over
// server-sent events or long-polling. It reconnects, resumes every channel where it was, and passes
// on every gap that the server tells of. docs/protocol.md says what goes over the wire, README.md
// how this is used, and `npm run build` makes ../stentor.js of it, which the server serves.
//
// Invariant: a subscription's `since` is behind everything that its callbacks were given and before
// everything that they were not. Whatever begins anew begins there.

const OPEN_MAX = 10_000; // Milliseconds, like all times here.
const SILENCE_BEFORE_PING = 25_000;
const PONG_MAX = 10_000;
const STREAM_SILENCE_MAX = 150_000; // The server's comments come every 55 s unless it is told otherwise.
const POLL_SECONDS = 25;
const POLL_MAX = 40_000;
const RETRY_AFTER_MAX = 300_000;
const STABLE_AFTER = 10_000; // A connection that held so long makes earlier failures forgotten.
const BATCH_CHARS_MAX = 4_000; // So short that a batch has never more than 128 commands.
const CHANNELS_PER_STREAM_MAX = 16;

const fault = (code, message = code, after) => Object.assign(new Error(message), { code, after });

const fromBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt());
const toBase64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));

/** Where a subscription is to begin, as the server takes it: behind a position, or with the newest. */
const startOf = ({ since, last }) => since ? { since } : last ? { last } : {};

/** What the server is asked to publish, by the kind of the data. */
const bodyOf = (data) => typeof data === 'string' ? { text: data }
  : data instanceof Uint8Array ? { base64: toBase64(data) } : { data };

/** The fields of one server-sent event; `data` may have come in several lines. */
const fieldsOf = (event) => {
  const fields = {};
  for (const line of event.split('\n')) {
    const [name, ...value] = line.split(': ');
    const text = value.join(': ');
    fields[name] = name in fields ? `${fields[name]}\n${text}` : text;
  }
  return fields;
};

export class Stentor {
  constructor(url = '/', options) {
    const { transports, backoff, upgrade, token } = {
      transports: ['websocket', 'sse', 'poll'], backoff: [500, 30_000], upgrade: 300_000, ...options,
    };
    const base = new URL(url, globalThis.location).href.replace(/^ws/, 'http').replace(/\/$/, '');
    const subscriptions = new Map();
    let link; // The connection in use, if there is one: an AbortController that ends all it began.
    let timer; // Ends the link if nothing comes, or where there is none makes the next.
    let first = 0; // The transport to begin with: the last that worked.
    let failures = 0;

    const become = (state, error) => {
      this.state = state;
      this.transport = state === 'connected' ? transports[link.index] : undefined;
      queueMicrotask(() => this.onstate?.(state, error));
    };

    const wait = (time, then) => {
      clearTimeout(timer);
      timer = setTimeout(then, time);
    };

    const drop = () => {
      const old = link;
      clearTimeout(timer);
      link = undefined;
      old?.abort();
    };

    const open = (index) => {
      drop();
      const own = link = Object.assign(new AbortController(), {
        index,
        fail: (error) => own === link && down(error),
        // Without subscriptions only a WebSocket has anything to hear.
        silent: () => (own.ask || subscriptions.size) && own.fail(fault('silent')),
        // Unless the transport knows better, other subscriptions need another connection.
        flush: () => own.outdated && open(index),
      });
      wait(OPEN_MAX, own.silent);
      ways[transports[index]](own).catch(own.fail);
    };

    /** Begins again later; a transport that twice failed to begin gives way to the next at once. */
    const down = (error) => {
      const { since, index } = link;
      const after = Math.min(error.after * 1000 || 0, RETRY_AFTER_MAX);
      const [least, most] = backoff;
      drop();
      if (Date.now() - since > STABLE_AFTER) failures = 0;
      if (!since && failures && !after && transports[index + 1]) return open(index + 1);
      first = since ? index : 0;
      wait(after + Math.random() * Math.min(most, least * 2 ** failures++), () => open(first));
      become('connecting', error);
    };

    /**
     * To be called when something came: whether it came over the connection in use, so that it
     * counts. If nothing more comes for `time`, `then` happens.
     */
    const heard = (own, time, then = own.silent) => {
      if (own !== link) return false;
      wait(time, then);
      if (!own.since && !own.early) {
        own.since = Date.now();
        become('connected');
      }
      if (!own.index || !(Date.now() - own.since > upgrade)) return true;
      // A better transport may have become possible. One failure is enough to come back here.
      failures ||= 1;
      open(0);
      return false;
    };

    /** Whatever is asked for in one turn goes out together. */
    const plan = () => {
      if (this.state === 'closed') throw fault('closed');
      if (this.state === 'idle') {
        open(0);
        become('connecting');
      }
      queueMicrotask(() => link?.flush());
    };

    /** The token to show, if there is one: asked for anew with each connection. */
    const fresh = async () => typeof token === 'function' ? token() : token;

    const get = async ({ signal }, path, query) => {
      const url = `${base}/${path}?${new URLSearchParams(query)}`;
      const shown = await fresh();
      const headers = shown && { Authorization: `Bearer ${shown}` };
      // With a cache the browser would add an If-None-Match of its own, which is a position.
      const answer = await fetch(url, { signal, headers, cache: 'no-store' });
      if (answer.ok) return answer;
      const message = (await answer.text()).trim();
      throw fault(answer.status, message, answer.headers.get('Retry-After'));
    };

    const ways = {
      async websocket(own) {
        let socket;
        const asked = new Map();
        let ids = 0;
        let out = [];
        own.ask = (command, answers = {}) => {
          asked.set(++ids, answers);
          out.push(JSON.stringify({ id: ids, ...command }));
        };
        own.flush = () => {
          if (socket?.readyState !== 1) return;
          for (const sub of subscriptions.values()) {
            if (sub.asked === own) continue;
            sub.asked = own;
            own.ask({ type: 'subscribe', channel: sub.channel, ...startOf(sub) }, sub);
          }
          while (out.length) {
            let batch = out.shift();
            while (out.length && batch.length + out[0].length < BATCH_CHARS_MAX) batch += `,${out.shift()}`;
            socket.send(`[${batch}]`);
          }
        };
        const ping = () => {
          own.ask({ type: 'ping' });
          own.flush();
          wait(PONG_MAX, own.silent);
        };
        own.signal.onabort = () => {
          socket?.close();
          asked.forEach((answers) => answers.error?.(fault('disconnected')));
        };
        const shown = await fresh();
        if (own !== link) return;
        const protocols = ['stentor.v1', ...shown ? [`stentor.token.${shown}`] : []];
        socket = new WebSocket(`${base.replace('http', 'ws')}/ws`, protocols);
        socket.onopen = ping;
        socket.onerror = socket.onclose = ({ code = 'failed', reason }) => own.fail(fault(code, reason || undefined));
        socket.onmessage = ({ data }) => {
          if (!heard(own, SILENCE_BEFORE_PING, ping)) return;
          const { type = 'publication', ...told } = JSON.parse(data);
          // Replies have numbers for ids, publications positions, and gaps none.
          const of = asked.get(told.id) ?? subscriptions.get(told.channel);
          asked.delete(told.id);
          of?.[type]?.(type === 'error' ? fault(told.code, told.message) : told);
        };
      },

      /** The streams begin at positions, which the first time a poll tells. */
      async sse(own) {
        const all = [...subscriptions.values()];
        own.early = true;
        await Promise.all(all.map((sub) => sub.since || poll(own, sub)));
        own.early = false;
        const known = all.filter((sub) => sub.since);
        const streams = [];
        while (known.length) streams.push(stream(own, known.splice(0, CHANNELS_PER_STREAM_MAX)));
        await Promise.all(streams);
      },

      async poll(own) {
        await Promise.all([...subscriptions.values()].map(async (sub) => {
          while (own === link) await poll(own, sub);
        }));
      },
    };

    const poll = async (own, sub) => {
      try {
        // The first answer is wanted at once, for its position.
        const timeout = sub.live === own ? POLL_SECONDS : 0;
        const answer = await get(own, `poll/${sub.channel}`, { timeout, ...startOf(sub) });
        const told = await answer.json();
        if (!heard(own, POLL_MAX)) return;
        sub.subscribed(told);
        told.publications.forEach(sub.publication);
      } catch (error) {
        if (error.code !== 400 && error.code !== 403) throw error;
        sub.error(error);
      }
    };

    const stream = async (own, subs) => {
      const channels = subs.map((sub) => sub.channel);
      const since = subs.map((sub) => `${sub.channel}=${sub.since}`);
      const { body } = await get(own, 'sse', { channels, since });
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      if (heard(own, STREAM_SILENCE_MAX)) subs.forEach((sub) => sub.subscribed({ position: sub.since }));
      for (let rest = ''; ;) {
        const { done, value } = await reader.read();
        if (done) throw fault('ended');
        if (!heard(own, STREAM_SILENCE_MAX)) return;
        const events = (rest + value).split('\n\n');
        rest = events.pop();
        events.map(fieldsOf).forEach(onEvent);
      }
    };

    const onEvent = ({ id, event = '', data }) => {
      const [channel, kind] = event.split(';');
      const sub = subscriptions.get(channel);
      const told = /gap|json/.test(kind) ? JSON.parse(data) : data;
      if (kind === 'gap') sub?.gap(told);
      // The id has the position of each channel: a=1-2,b=3-4.
      else sub?.publication({
        channel, id: `,${id}`.split(`,${channel}=`)[1].split(',')[0], data: told, encoding: kind,
      });
    };

    this.state = 'idle';

    this.subscribe = (channel, options) => {
      if (subscriptions.has(channel)) throw fault('already_subscribed', `unsubscribe from ${channel} first`);
      const isWanted = () => subscriptions.get(channel) === sub;
      /** Calls back at once. Async: what fails there is reported as unhandled, and does not stop us. */
      const tell = async (callback, told, since) => {
        if (!isWanted() || sub.live !== link) return;
        sub.since = since;
        sub[callback]?.(told);
      };
      const change = () => {
        if (link) link.outdated = true;
        plan();
      };
      // Its methods are named like the messages of the server that they take.
      const sub = {
        ...options, channel,
        subscribed({ position, gap }) {
          const again = sub.live === link;
          sub.live = link;
          if (again) sub.since = position;
          else tell('onSubscribed', { channel, position }, position);
          if (gap) sub.gap(gap);
        },
        gap: ({ from, to }) => tell('onGap', { channel, from, to }, to),
        publication({ encoding, ...publication }) {
          if (encoding === 'base64') publication.data = fromBase64(publication.data);
          tell('onPublication', publication, publication.id);
        },
        /** Nobody asked for it: a fresh token does not grant the channel. */
        unsubscribed: ({ code }) => sub.error(fault(code)),
        error(error) {
          // The end of a connection, drained or not, is not that of the subscription.
          if (!link || error.code === 'draining') return;
          sub.live = link;
          tell('onError', error);
          sub.unsubscribe();
        },
        unsubscribe() {
          if (!isWanted()) return;
          subscriptions.delete(channel);
          if (link && sub.asked === link) link.ask({ type: 'unsubscribe', channel });
          change();
        },
      };
      subscriptions.set(channel, sub);
      change();
      return sub;
    };

    this.publish = async (channel, data, options) => {
      plan();
      if (!link?.ask) throw fault('no_websocket', 'only a WebSocket can publish');
      return new Promise((resolve, reject) => link.ask(
        { type: 'publish', channel, ...options, ...bodyOf(data) },
        {
          published: ({ position }) => resolve(position),
          error: reject,
        },
      ));
    };

    this.renew = async () => {
      const shown = await fresh();
      link?.ask?.({ type: 'token', token: shown });
      link?.flush();
    };

    const online = () => this.state !== 'idle' && open(first);
    globalThis.addEventListener?.('online', online);

    this.close = () => {
      globalThis.removeEventListener?.('online', online);
      subscriptions.clear();
      drop();
      become('closed');
    };
  }
}
