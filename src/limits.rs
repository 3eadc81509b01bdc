//! Every bound that is fixed when Stentor is built, in one place and checked against each other.
//!
//! Bounds that an operator may want to move are settings, in `config`; what stands here either
//! follows from the kernel or has been measured to be right everywhere.
#![forbid(unsafe_code)]

use std::time::Duration;

/// Sends submitted to the kernel in one call. Measured: 32 to 128 cost the same per send, and
/// above 128 the batch only adds delay for whoever comes after it.
pub const SEND_BATCH: usize = 64;

/// Receives submitted to the kernel in one call, each with its own part of the scratch buffer.
pub const RECEIVE_BATCH: usize = 32;

/// Bytes of scratch per receive in a batch; also the most that one read takes from a connection.
pub const RECEIVE_BYTES: usize = 4096;

/// Entries in a ring's submission queue. A batch must fit into an empty one.
pub const SUBMISSION_ENTRIES: u32 = 256;

/// Entries in a ring's completion queue: 145 KiB of locked memory per ring at this size.
pub const COMPLETION_ENTRIES: u32 = 8192;

/// Accepts that wait at all listeners together at once, and so the most that a turn takes in. One turn of a
/// reconnect storm then costs as much kernel work as a batch of sends.
pub const ACCEPTS_IN_FLIGHT: u32 = 32;

/// Addresses that subscribers may connect to, plain and TLS together.
pub const LISTENERS_MAX: usize = 16;

/// Milliseconds before something is tried again that the kernel cannot wait for: accepting after
/// memory or files ran out, writing to a full socket whose peer has finished sending.
pub const PAUSE_MS: u64 = 100;

/// Neighbouring slots whose pings are early by the same part of the interval. Neighbours were mostly
/// accepted together, so their sockets lie together in the kernel's memory: a ping that finds it in
/// the cache costs half.
pub const PINGED_TOGETHER: u32 = 256;

/// Slots in one ring's table of direct descriptors. The kernel refuses more, and more than
/// `RLIMIT_NOFILE`.
pub const SLOTS_PER_RING_MAX: u32 = 1 << 20;

/// Open files kept for everything but subscribers and what their shards need.
pub const FILES_KEPT: u64 = 200;

/// The same, as a shard on epoll leaves them to the rest of the process.
pub const EPOLL_RESERVED_FILES: u64 = FILES_KEPT;

/// Descriptors of a shard on io_uring besides its rings: the listener, and the bell by which other
/// threads wake it.
pub const FILES_PER_SHARD: u64 = 2;

/// Connections where the setting is `auto`.
pub const CONNECTIONS_UNLESS_TOLD: u32 = 100_000;

/// Connections that a setting may ask for.
pub const CONNECTIONS_MAX: u32 = 16 << 20;

/// Bytes in one send. The kernel cuts longer ones off without a word.
pub const KERNEL_SEND_BYTES_MAX: usize = 1 << 30;

/// Sends of broadcasts that a shard makes per turn, over all channels, before it looks at its
/// inbox and its completions again: about 1 ms of kernel work. As many again may be private.
pub const SENDS_PER_TURN_MAX: usize = 256;

/// Publications that a home shard takes from outside per turn; the rest wait for the next.
pub const PUBLICATIONS_PER_TURN_MAX: usize = 256;

/// Payload bytes of publications taken per turn; the one that reaches it is the turn's last.
pub const PUBLICATION_BYTES_PER_TURN_MAX: usize = 1024 * 1024;

/// Questions from outside answered per turn. Each may walk over all channels.
pub const QUESTIONS_PER_TURN_MAX: usize = 4;

/// Steps that a question about connections may take: a slot that is looked at is one. The question is
/// answered in part then, and asked again for the rest.
pub const CONNECTION_STEPS_MAX: usize = 4096;

/// Steps for one connection that is asked of the kernel, or shown: some microseconds.
pub const SHOWN_CONNECTION_STEPS: usize = 16;

/// Addresses that connections are counted by when somebody asks; more are left out.
pub const COUNTED_ADDRESSES_MAX: usize = 65_536;

/// Subscribers of one channel that are looked at for their lag; the rest are counted.
pub const CHANNEL_LAG_LOOKS_MAX: usize = 4096;

/// Bytes that may wait for the connections of a shard before those whose publications are written for
/// them alone get but one at a time.
pub const COMPOSED_BYTES_PER_SHARD_MAX: usize = 64 * 1024 * 1024;

/// Bytes of frames that are written at a time for a connection whose publications are written for it
/// alone; the one that reaches it is the last.
pub const COMPOSE_BYTES_MAX: usize = 256 * 1024;

/// Connections told of their deadline per turn.
pub const DEADLINES_PER_TURN_MAX: usize = 1024;

/// Messages from other shards handled per turn; the rest wait for the next.
pub const MESSAGES_PER_TURN_MAX: usize = 1024;

/// Connections whose input is read per turn.
pub const RECEIVES_PER_TURN_MAX: usize = 256;

/// Bytes in the largest segment that holds more than one frame. A frame above it gets a segment
/// of its own.
pub const SEGMENT_BYTES_MAX: usize = 256 * 1024;

/// The same, where frames are replaced by later ones: one that is not keeps no more than this.
pub const SPARSE_SEGMENT_BYTES_MAX: usize = 4 * 1024;

/// Bytes in the smallest segment.
pub const SEGMENT_BYTES_MIN: usize = 64;

/// Bytes of a cut frame that a connection may keep when the segment under it is dropped; one with
/// more is closed without a close frame.
pub const CUT_FRAME_BYTES_MAX: usize = 64 * 1024;

/// The same, over all connections of a shard.
pub const CUT_FRAME_BYTES_PER_SHARD_MAX: usize = 8 * 1024 * 1024;

/// Bytes that may wait for all connections of a shard besides what they read together: beyond it who
/// has most waiting is cut off. Enough for an answer to each of a million connections.
pub const OUTBOX_BYTES_PER_SHARD_MAX: usize = 256 * 1024 * 1024;

/// Bytes of requests and messages that have come in part, over all connections of a shard: beyond it
/// who has sent most is ended. Twice the largest message of `stentor.v1`, so that one alone fits.
pub const INPUT_BYTES_PER_SHARD_MAX: usize = 256 * 1024 * 1024;

/// Bytes of plaintext in a TLS record.
pub const TLS_RECORD_BYTES: usize = 16 * 1024;

/// Bytes that all TLS connections of a shard may keep: records that have come in part, ciphertext that
/// the kernel refused. Beyond it whoever has stood still longest is cut off.
pub const TLS_BYTES_PER_SHARD_MAX: usize = 256 * 1024 * 1024;

/// Steps of TLS handshakes that a shard makes per turn: a connection takes two, of which one costs 0.1
/// to 1 ms, by the kind of key.
pub const HANDSHAKES_PER_TURN_MAX: u32 = 8;

/// Certificates that a server may have, by the names that clients ask for.
pub const CERTIFICATES_MAX: usize = 64;

/// Milliseconds between two ticks of the timer wheel. Deadlines are seconds; a coarse tick lets
/// thousands of pings leave as one batch.
pub const TICK_MS: u64 = 100;

/// Seconds that a closing connection may take to read its last bytes and to send its end.
pub const CLOSING_SECONDS_MAX: u64 = 2;

/// Headers in a request. Browsers send about 20, and proxies add a few.
pub const REQUEST_HEADERS_MAX: usize = 64;
/// Bytes that hyper may buffer of one control connection, which also bounds a request's head.
pub const CONTROL_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes of an upload that are read and thrown away after it was refused. Closing with unread
/// input resets the connection and may destroy the answer before the publisher has read it.
pub const DISCARD_BYTES_MAX: usize = 1024 * 1024;

/// Seconds that throwing away may take.
pub const DISCARD_SECONDS_MAX: u64 = 2;

/// Control connections above the limit that are being told so at a time; more are dropped unheard.
pub const CONTROL_REFUSALS_MAX: usize = 64;

/// Keys of a channel of latest values whose policy does not say how many there may be.
pub const LATEST_KEYS_MAX: u32 = 10_000;

/// Payload bytes that a channel keeps whose policy keeps something and does not say how many.
pub const HISTORY_BYTES_UNLESS_TOLD: usize = 16 * 1024 * 1024;

/// Patterns of channels that settings may list. Finding a channel's is a walk over them.
pub const PATTERNS_MAX: usize = 1000;

/// Bytes in a publication's key, and in an idempotency key.
pub const KEY_BYTES_MAX: usize = 255;

/// Idempotency keys, and versions of keys, that a shard remembers: one more, and the oldest is
/// forgotten. About 150 bytes each.
pub const REMEMBERED_MAX: usize = 100_000;

/// Seconds for which an idempotency key is remembered.
pub const IDEMPOTENCY_SECONDS: u64 = 300;

/// Channels in one event stream.
pub const SSE_CHANNELS_MAX: usize = 16;

/// Publications of one `stentor.v1` connection that may await their answers.
pub const CALLS_IN_FLIGHT_MAX: usize = 16;

/// Commands in one `stentor.v1` message.
pub const COMMANDS_MAX: usize = 128;

/// Subscriptions and their ends that a `stentor.v1` connection may ask for before it is answered;
/// then it is not read until it is.
pub const COMMANDS_UNANSWERED_MAX: usize = 2 * COMMANDS_MAX;

/// Bytes of a `stentor.v1` message besides what it publishes.
pub const COMMAND_BYTES: usize = 64 * 1024;

/// Questions to one shard that may wait.
pub const QUESTIONS_MAX: usize = 64;

/// Publications in one request that answers each.
pub const PUBLISH_LINES_MAX: usize = 10_000;

/// Bytes of one line stream that may await their answers, besides one publication of any size.
pub const LINES_IN_FLIGHT_BYTES: usize = 1024 * 1024;

/// Payload bytes that the journal writes to a file before it syncs them; the record that reaches
/// this is the group's last. A sync of as much takes about as long as several of a few kilobytes.
pub const JOURNAL_GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that a compaction reads and writes at a time, so that it holds no file in memory.
pub const JOURNAL_COPY_BYTES: usize = 1024 * 1024;

const _: () = assert!(SEND_BATCH <= SUBMISSION_ENTRIES as usize);
const _: () = assert!(RECEIVE_BATCH <= SUBMISSION_ENTRIES as usize);
const _: () = assert!(SEND_BATCH <= u64::BITS as usize, "a batch's members are bits of a word");
const _: () = assert!(RECEIVE_BATCH <= SEND_BATCH);
const _: () = assert!(ACCEPTS_IN_FLIGHT <= SUBMISSION_ENTRIES);
const _: () = assert!(LISTENERS_MAX <= ACCEPTS_IN_FLIGHT as usize, "an accept for each at least");
/// Payload bytes of the largest publication that a setting may allow.
pub const PUBLICATION_BYTES_MAX: usize = 64 * 1024 * 1024;

const _: () = assert!(COMPOSED_BYTES_PER_SHARD_MAX < OUTBOX_BYTES_PER_SHARD_MAX);
const _: () = assert!(CUT_FRAME_BYTES_PER_SHARD_MAX < OUTBOX_BYTES_PER_SHARD_MAX);
const _: () = assert!(2 * PUBLICATION_BYTES_MAX + COMMAND_BYTES <= INPUT_BYTES_PER_SHARD_MAX);
const _: () = assert!(KERNEL_SEND_BYTES_MAX <= i32::MAX as usize);
const _: () = assert!(
    7 * PUBLICATION_BYTES_MAX + 1024 <= KERNEL_SEND_BYTES_MAX,
    "a text of nothing but line ends takes seven bytes for each as a server-sent event"
);
const _: () = assert!(SEND_BATCH.is_power_of_two() && SENDS_PER_TURN_MAX >= SEND_BATCH);
const _: () = assert!(COMPLETION_ENTRIES as usize >= 16 * SEND_BATCH);
const _: () = assert!(PATTERNS_MAX < u16::MAX as usize, "patterns are numbered in 16 bits");
const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(CONTROL_BUFFER_BYTES >= 8192, "hyper takes no smaller buffer");

/// Inputs from message buses.
pub const INPUTS_MAX: usize = 64;

/// Subjects, topics or the like of one input, and its filters.
pub const INPUT_VALUES_MAX: usize = 64;

/// Records of one input that may be on their way to one shard, unless it is told.
pub const INPUT_QUEUE_UNLESS_TOLD: u32 = 4096;

/// Records that an input reads again at the start, so that the history of its channels is filled.
pub const WARM_START_RECORDS: u64 = 100_000;

/// Bytes in a template, a condition or a JSON pointer of an input.
pub const TEMPLATE_BYTES_MAX: usize = 1024;

/// Publications that may wait to be taken to a bus; one more is answered 503.
pub const FORWARDS_MAX: usize = 1024;

/// Connections to one input of lines; one more is told so and closed.
pub const LINES_CONNECTIONS_MAX: usize = 64;

/// Bytes that a line of an input may have besides a publication in base64: names, escapes.
pub const LINE_SLACK_BYTES: usize = 64 * 1024;

/// Clients per shard that may wait for an input to tell of the sequence that their position is of. One
/// more is answered as if there were no such sequence.
pub const HELD_ASKS_MAX: usize = 65_536;

/// Bytes in a token; a request's head has to hold it, or a command.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Bytes in the `sub` of a token.
pub const TOKEN_SUBJECT_BYTES_MAX: usize = 255;

/// Patterns that a token may have to subscribe, and as many to publish.
pub const TOKEN_PATTERNS_MAX: usize = 128;

/// Fresh tokens of one connection that may be refused. More are not looked at: a signature takes the
/// shard up to a tenth of a millisecond.
pub const TOKENS_REFUSED_MAX: u8 = 3;

/// Keys of a JWKS file.
pub const TOKEN_KEYS_MAX: usize = 32;

/// Keys that one token is tried with: a signature takes the shard up to a tenth of a millisecond.
pub const TOKEN_KEYS_TRIED_MAX: usize = 4;

/// Keys of a JWKS file for one algorithm that have the same `kid`, or none: that of `token-key` is
/// tried before them.
pub const TOKEN_KEYS_ALIKE_MAX: usize = TOKEN_KEYS_TRIED_MAX - 1;

/// Tokens with a bad signature that are remembered, so that they are not tried again.
pub const TOKENS_REFUSED_REMEMBERED_MAX: usize = 4096;

/// Tokens that were good and are remembered, so that those who come back are not verified again.
pub const TOKENS_REMEMBERED_MAX: usize = 1 << 18;

/// Bytes that they may take.
pub const TOKENS_REMEMBERED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Keys of the API.
pub const API_KEYS_MAX: usize = 1024;

/// Networks that a setting may list. Each new connection is compared with all of them.
pub const NETWORKS_MAX: usize = 256;

/// Addresses without connections of which the server remembers how fast they came: 64 bytes each.
pub const IDLE_ADDRESSES_MAX: usize = 65_536;

/// Connections of a shard that may at one time be told that their address has too many, or comes too
/// fast; the next ones are closed without a word.
pub const REFUSALS_MAX: u32 = 256;

/// Orders of operators that may wait for the server's own thread.
pub const ORDERS_WAITING_MAX: usize = 16;

/// Settings that may name files which are read again when they change.
pub const WATCHED_MAX: usize = 64;

/// Listening sockets that may be passed to the server when it is started.
pub const ADOPTED_MAX: u16 = 64;

/// Time for a hand-over from one server to the next, from its first word to readiness.
pub const HANDOVER_WAIT: Duration = Duration::from_secs(60);

/// Time for the next word where the other side has nothing to wait for.
pub const HANDOVER_WORD_WAIT: Duration = Duration::from_secs(5);

/// Time for all shards to stop accepting, and for the journal to finish what it writes.
pub const HANDOVER_REST_WAIT: Duration = Duration::from_secs(10);

/// Servers that a successor asks one after the other, where each dies before it has offered anything.
pub const HANDOVER_TRIES: u32 = 4;

/// Bytes in a word of a hand-over: all addresses, and the path of a journal.
pub const HANDOVER_WORD_BYTES_MAX: usize = 16 * 1024;

/// Sockets that are passed with one word. The kernel takes 253.
pub const HANDOVER_SOCKETS_PER_WORD: usize = 64;

/// Sockets that a server takes over: as many shards as there may be, each with all its listeners.
pub const HANDOVER_SOCKETS_MAX: usize = 256 * LISTENERS_MAX + 2;

/// Connections of a shard from trusted proxies whose PROXY headers have yet to end; one more is closed.
pub const PREFACES_MAX: usize = 1024;

/// Seconds that a PROXY header may take.
pub const PREFACE_SECONDS_MAX: u64 = 5;

/// Publishers with tokens of whom it is remembered how fast they publish.
pub const PUBLISHERS_REMEMBERED_MAX: usize = 65_536;

/// Proxies behind each other in what a request says of its way.
pub const PROXIES_MAX: usize = 32;

/// Spans that may wait for the collector; one more is dropped. About 1 KiB each.
pub const SPANS_MAX: usize = 2048;

/// Spans in one request to the collector.
pub const SPANS_PER_REQUEST_MAX: usize = 512;

/// How long the first span of a request waits for others.
pub const SPANS_WAIT_MS: u64 = 1000;

/// How long the collector may take to answer a request.
pub const SPANS_TIMEOUT_MS: u64 = 3000;

/// How long a server that ends waits for its last spans to be taken.
pub const SPANS_FLUSH_MS: u64 = 1000;
