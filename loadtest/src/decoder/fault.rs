//! What a server did wrong, each with the rule that it broke.

use super::{HEAD_BYTES_MAX, HEADERS_MAX, MESSAGE_BYTES_MAX, POSITION_BYTES_MAX};

/// Why a stream is dead: the server refused, or it broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The answer to the handshake is another than the one that grants it.
    #[error("the server refused with status {status}: {reason}")]
    Refused {
        /// The status code.
        status: u16,
        /// Seconds to wait before the next try, if the server said so in seconds.
        retry_after: Option<u32>,
        /// The body if it is plain text of a known length, or the phrase of the status line:
        /// one line of at most [`REASON_BYTES_MAX`](super::REASON_BYTES_MAX) characters.
        reason: String,
    },
    /// Something else than the head of an HTTP/1.1 answer.
    #[error("the answer is not HTTP/1.1: {0} (RFC 9112 §4)")]
    MalformedHead(httparse::Error),
    /// The head goes on past its bound.
    #[error("the head of the answer is longer than {HEAD_BYTES_MAX} bytes")]
    HeadTooLarge,
    /// The head has too many headers.
    #[error("the answer has more than {HEADERS_MAX} headers")]
    TooManyHeaders,
    /// 101 without `Upgrade: websocket`.
    #[error("the answer 101 has no Upgrade: websocket (RFC 6455 §4.1)")]
    UpgradeMissing,
    /// 101 without `Connection: Upgrade`.
    #[error("the answer 101 has no Connection: Upgrade (RFC 6455 §4.1)")]
    ConnectionMissing,
    /// 101 to another key, or to none.
    #[error("Sec-WebSocket-Accept does not belong to the key that was sent (RFC 6455 §4.1)")]
    WrongAccept,
    /// 101 with an extension.
    #[error("the server uses an extension that was not offered (RFC 6455 §4.1)")]
    ExtensionNotOffered,
    /// 101 without the subprotocol that was offered.
    #[error("the answer 101 does not take the subprotocol stentor.v1")]
    SubprotocolMissing,
    /// `Stentor-Recovered` or `Stentor-Gap` says something else than it can.
    #[error("a header is not Stentor-Recovered: true or false, or Stentor-Gap: FROM..TO")]
    PositionHeaders,
    /// 200 with another type of content.
    #[error("the content type is not text/event-stream (HTML §9.2.2)")]
    NotAnEventStream,
    /// The answer to a long-poll has another type of content.
    #[error("the content type of a long-poll's answer is not application/json")]
    NotAnObject,
    /// The answer to a long-poll does not say where it ends.
    #[error("a long-poll's answer has no Content-Length")]
    LengthMissing,
    /// An answer or a message in JSON is not what it should be.
    #[error("an answer or message in JSON is not as the protocol has it: {0}")]
    MalformedObject(String),
    /// `stentor.v1` answers that it does not subscribe.
    #[error("the server refused with {code}: {message}")]
    CommandRefused {
        /// The code.
        code: String,
        /// The message.
        message: String,
    },
    /// A position is so long that nobody would keep it.
    #[error("a position is longer than {POSITION_BYTES_MAX} bytes")]
    PositionTooLong,
    /// 304 to a first poll, which asked whether nothing had changed since nothing.
    #[error("the first poll of a connection was answered 304")]
    UnchangedFirst,
    /// More came than the one answer to a long-poll.
    #[error("the server went on after its answer, and nothing was asked")]
    AfterAnswer,
    /// The content is compressed, which was not asked for.
    #[error("the events have a content coding, and none was asked for (RFC 9110 §12.5.3)")]
    ContentCoded,
    /// The body comes in another transfer coding than chunked.
    #[error("the transfer coding is not chunked alone (RFC 9112 §6.1)")]
    TransferCoding,
    /// A reserved bit is set.
    #[error("a frame has a reserved bit set, and no extension gave it a meaning (RFC 6455 §5.2)")]
    ReservedBit,
    /// An opcode without a meaning.
    #[error("a frame has the reserved opcode {0:#x} (RFC 6455 §5.2)")]
    ReservedOpcode(u8),
    /// A frame from a server is masked.
    #[error("a frame from the server is masked (RFC 6455 §5.1)")]
    Masked,
    /// A longer form of the length than the length needs.
    #[error("a frame's length is not in its shortest form (RFC 6455 §5.2)")]
    LengthNotShortest,
    /// The first bit of a 64-bit length is set.
    #[error("a frame's length has its highest bit set (RFC 6455 §5.2)")]
    LengthOverflows,
    /// A control frame with a long payload.
    #[error("a control frame has more than 125 bytes (RFC 6455 §5.5)")]
    ControlTooLong,
    /// A control frame without the final bit.
    #[error("a control frame is fragmented (RFC 6455 §5.5)")]
    ControlFragmented,
    /// A continuation while no message is open.
    #[error("a continuation frame continues no message (RFC 6455 §5.4)")]
    ContinuesNothing,
    /// A new message while another one is open.
    #[error("a message begins before the last fragment of the one before (RFC 6455 §5.4)")]
    MessageInterrupted,
    /// A text message that is not text.
    #[error("a text message is not UTF-8 (RFC 6455 §8.1)")]
    NotUtf8,
    /// A close frame with half a code.
    #[error("a close frame has one byte, and a code takes two (RFC 6455 §5.5.1)")]
    CloseTooShort,
    /// A close code that nobody may send.
    #[error("a close frame has the code {0}, which may not be sent (RFC 6455 §7.4)")]
    CloseCode(u16),
    /// Bytes after a close frame.
    #[error("the server went on after its close frame (RFC 6455 §5.5.1)")]
    AfterClose,
    /// A message, or a line of an event stream, goes on past its bound.
    #[error("a message is longer than {MESSAGE_BYTES_MAX} bytes")]
    MessageTooLarge,
    /// A chunk does not begin with its size.
    #[error("a chunk does not begin with its size in hexadecimal digits (RFC 9112 §7.1)")]
    ChunkSize,
    /// A chunk is larger than 32 bits can say.
    #[error("a chunk is 4 GiB or longer")]
    ChunkTooLarge,
    /// CR LF is missing where the chunked coding wants it.
    #[error("a line or the content of a chunk does not end with CR LF (RFC 9112 §7.1)")]
    ChunkEnd,
    /// Bytes after the last chunk.
    #[error("the server went on after the last chunk (RFC 9112 §7.1)")]
    AfterEnd,
    /// Fed again after a fault.
    #[error("the stream had failed before")]
    AfterFault,
}

impl From<httparse::Error> for Fault {
    fn from(error: httparse::Error) -> Fault {
        match error {
            httparse::Error::TooManyHeaders => Fault::TooManyHeaders,
            error => Fault::MalformedHead(error),
        }
    }
}

/// None of `ws`, `sse`, `poll` and `v1`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no transport {0:?}; say ws (or websocket), sse, poll or v1")]
pub struct UnknownTransport(pub String);
