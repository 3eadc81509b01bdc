/** Where a publication stands in its channel, like `18c2f3a9d1e-42`. To be compared with `===` alone. */
export type Position = string;

export interface Publication {
  channel: string;
  /** Its position: what to give as `since`, to get everything behind it. */
  id: Position;
  /**
   * The value of a JSON publication, the string of a text, a `Uint8Array` of anything else. What
   * came over server-sent events has its line ends as `\n`.
   */
  data: unknown;
  /** What it is the latest value of, in a channel of latest values. Not told by server-sent events. */
  key?: string;
}

/** The publications behind `from`, up to and with `to`, will not come. What follows them will. */
export interface Gap {
  channel: string;
  from: Position;
  to: Position;
}

export interface Subscribed {
  channel: string;
  /** Everything published behind this position comes, or is announced as a gap. */
  position: Position;
}

/**
 * `code` is one of docs/protocol.md, the status of an HTTP answer, the code of a WebSocket's close,
 * or one of `already_subscribed`, `closed`, `disconnected`, `ended`, `failed`, `no_websocket`, `silent`.
 */
export interface Fault extends Error {
  code: string | number;
}

export interface SubscribeOptions {
  /** Begin behind this position. */
  since?: Position;
  /** Without `since`: begin with so many of the newest that the server keeps. */
  last?: number;
  onPublication?(publication: Publication): void;
  onGap?(gap: Gap): void;
  /** The subscription began, or began anew over another connection. */
  onSubscribed?(subscribed: Subscribed): void;
  /** The server refused the subscription, which has ended. */
  onError?(error: Fault): void;
}

export interface Subscription {
  readonly channel: string;
  /** The position of the last that came: what to keep for a later `since`. */
  readonly since?: Position;
  /** Nothing more is called back, from now on. */
  unsubscribe(): void;
}

export interface PublishOptions {
  /** In a channel of latest values: what this is the value of. */
  key?: string;
  /** Refused with `stale_version` if the key has a later one. */
  version?: number;
  /** Published once, however often it is asked for with the same. */
  idempotency?: string;
}

export type Transport = 'websocket' | 'sse' | 'poll';

export interface Options {
  /** Which to use, the best first. All three in the order above by default. */
  transports?: Transport[];
  /** Bounds of the wait before a new connection, in milliseconds: `[500, 30_000]`. */
  backoff?: [least: number, most: number];
  /** Milliseconds after which a lesser transport gives the best one another try: `300_000`. */
  upgrade?: number;
  /**
   * The token to show, or what gets one: called with every connection, and again by `renew`. When a token runs
   * out the connection ends (4401), and the next begins with a fresh one where the channels were.
   */
  token?: string | (() => string | undefined | Promise<string | undefined>);
}

export type State = 'idle' | 'connecting' | 'connected' | 'closed';

export class Stentor {
  /** The server's address; without one, where the page came from. */
  constructor(url?: string | URL, options?: Options);
  readonly state: State;
  /** What is in use while connected. */
  readonly transport?: Transport;
  /** Called when the state changes; with the reason if a connection was lost or could not be made. */
  onstate?: (state: State, error?: Fault) => void;
  /** Throws if the channel is subscribed to already, or the client closed. */
  subscribe(channel: string, options?: SubscribeOptions): Subscription;
  /** Publishes a text, bytes, or else JSON; over WebSocket alone. */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<Position>;
  /** Shows a fresh token before the last runs out, so that the connection stays. */
  renew(): Promise<void>;
  /** Ends everything. */
  close(): void;
}
