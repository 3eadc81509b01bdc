//! The kinds of inputs and their keys, each defined once: flags, help, reference and errors follow.
#![forbid(unsafe_code)]

/// A kind of input.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The first word of its text.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// What a template may have of its records.
    pub fields: &'static [&'static str],
    /// Whether its records have headers.
    pub has_headers: bool,
    /// The template of channels unless one is given.
    pub channel: &'static str,
}

/// What may be said of an input.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// What stands before the `=`.
    pub name: &'static str,
    /// The kinds that have it; none means all.
    pub kinds: &'static [&'static str],
    /// Whether it may be given several times.
    pub repeats: bool,
    /// What holds without it, as Markdown.
    pub default: &'static str,
    /// What kind of value is right.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl Key {
    /// Whether it must be given.
    pub fn is_required(&self) -> bool {
        self.default == REQUIRED
    }
}

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// Its keys, in the order of the table.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let name = self.name;
        KEYS[1..].iter().filter(move |key| key.kinds.is_empty() || key.kinds.contains(&name))
    }
}

/// Every kind.
pub static KINDS: [Kind; 9] = [
    Kind {
        name: "nats",
        about: "NATS subjects",
        fields: &["subject"],
        has_headers: true,
        channel: "{subject}",
    },
    Kind {
        name: "jetstream",
        about: "a JetStream stream",
        fields: &["subject", "stream", "sequence"],
        has_headers: true,
        channel: "{subject}",
    },
    Kind {
        name: "redis",
        about: "Redis Pub/Sub",
        fields: &["channel", "pattern"],
        has_headers: false,
        channel: "{channel}",
    },
    Kind {
        name: "redis-stream",
        about: "Redis streams",
        fields: &["stream", "id"],
        has_headers: true,
        channel: "{stream}",
    },
    Kind {
        name: "kafka",
        about: "Kafka topics",
        fields: &["topic", "partition", "offset", "key"],
        has_headers: true,
        channel: "{topic}",
    },
    Kind {
        name: "amqp",
        about: "a RabbitMQ exchange",
        fields: &["routing-key", "exchange"],
        has_headers: true,
        channel: "{routing-key}",
    },
    Kind {
        name: "amqp-stream",
        about: "a RabbitMQ stream queue",
        fields: &["queue", "routing-key", "offset"],
        has_headers: true,
        channel: "{queue}",
    },
    Kind {
        name: "mqtt",
        about: "MQTT topics",
        fields: &["topic"],
        has_headers: true,
        channel: "{topic}",
    },
    Kind {
        name: "lines",
        about: "lines of a pipe or a socket",
        fields: &["channel", "key"],
        has_headers: false,
        channel: "{channel}",
    },
];

/// The default of a key that must be given.
const REQUIRED: &str = "required";

/// What `start` is where nobody says otherwise, as the table of keys tells it.
const START: &str = "`history`";

/// Every key, the kind first. Where kinds differ in a key it has several rows.
pub static KEYS: [Key; 30] = [
    Key {
        name: "kind",
        kinds: &[],
        repeats: false,
        default: REQUIRED,
        value: "nats, jetstream, redis, redis-stream, kafka, amqp, amqp-stream, mqtt or lines",
        help: "What is read. As text it is the first word and has no `kind=`.",
    },
    Key {
        name: "name",
        kinds: &[],
        repeats: false,
        default: "the kind; for a second one `nats-2`",
        value: "1 to 64 letters, digits, - and _",
        help: "What it is called in metrics, logs and `publish-to`.",
    },
    Key {
        name: "url",
        kinds: &["nats", "jetstream", "redis", "redis-stream", "amqp", "amqp-stream", "mqtt"],
        repeats: false,
        default: REQUIRED,
        value: "a URL",
        help: "The bus. `${VARIABLE}` and `${file:/path}` are replaced from the environment and from \
               a file, so that a password need not stand here.",
    },
    Key {
        name: "brokers",
        kinds: &["kafka"],
        repeats: false,
        default: REQUIRED,
        value: "hosts with ports, with commas between them",
        help: "Brokers to begin with. `${VARIABLE}` and `${file:/path}` are replaced.",
    },
    Key {
        name: "from",
        kinds: &["lines"],
        repeats: false,
        default: REQUIRED,
        value: "stdin, unix:/path or tcp:ADDRESS",
        help: "Where lines come from: standard input, or whoever connects to a socket.",
    },
    Key {
        name: "stream",
        kinds: &["jetstream"],
        repeats: false,
        default: REQUIRED,
        value: "a stream's name",
        help: "The stream, which must be there.",
    },
    Key {
        name: "stream",
        kinds: &["redis-stream"],
        repeats: true,
        default: REQUIRED,
        value: "a key",
        help: "The keys of the streams.",
    },
    Key {
        name: "subject",
        kinds: &["nats"],
        repeats: true,
        default: REQUIRED,
        value: "a subject, with `*` and `>`",
        help: "The subjects to subscribe to.",
    },
    Key {
        name: "subject",
        kinds: &["jetstream"],
        repeats: true,
        default: "all of the stream",
        value: "a subject, with `*` and `>`",
        help: "The subjects of the stream that are read.",
    },
    Key {
        name: "subscribe",
        kinds: &["redis"],
        repeats: true,
        default: REQUIRED,
        value: "a channel of Redis, or a pattern with `*`, `?` or `[`",
        help: "The channels to subscribe to.",
    },
    Key {
        name: "topic",
        kinds: &["kafka"],
        repeats: true,
        default: REQUIRED,
        value: "a topic",
        help: "The topics, of which all partitions are read.",
    },
    Key {
        name: "topic",
        kinds: &["mqtt"],
        repeats: true,
        default: REQUIRED,
        value: "a topic filter, with `+` and `#`",
        help: "The topics to subscribe to.",
    },
    Key {
        name: "exchange",
        kinds: &["amqp"],
        repeats: false,
        default: REQUIRED,
        value: "an exchange's name",
        help: "The exchange, which must be there. A queue of our own is bound to it.",
    },
    Key {
        name: "routing-key",
        kinds: &["amqp"],
        repeats: true,
        default: "`#`",
        value: "a binding key, with `*` and `#` at a topic exchange",
        help: "The keys that the queue is bound with.",
    },
    Key {
        name: "queue",
        kinds: &["amqp-stream"],
        repeats: false,
        default: REQUIRED,
        value: "a queue's name",
        help: "The stream queue, which must be there.",
    },
    Key {
        name: "field",
        kinds: &["redis-stream"],
        repeats: false,
        default: "`payload`",
        value: "a field's name",
        help: "The entry's field that is the payload.",
    },
    Key {
        name: "start",
        kinds: &["jetstream", "redis-stream", "kafka", "amqp-stream"],
        repeats: false,
        default: START,
        value: "history, new, all, last:N, behind:ID, time:2026-01-31T12:00:00Z or time:-1h",
        help: "Where a new edge begins in the log. With history so far back that the history of the \
               channels is filled, or, if none is kept, with what comes from now on.",
    },
    Key {
        name: "durable",
        kinds: &["jetstream"],
        repeats: false,
        default: "none",
        value: "a consumer's name",
        help: "A durable consumer, which remembers at the server what was read.",
    },
    Key {
        name: "credentials",
        kinds: &["nats", "jetstream"],
        repeats: false,
        default: "none",
        value: "a file",
        help: "A file with a JWT and its key, as `nsc` makes it.",
    },
    Key {
        name: "property",
        kinds: &["kafka"],
        repeats: true,
        default: "none",
        value: "NAME=VALUE",
        help: "A property of librdkafka, like `security.protocol=sasl_ssl`. `${VARIABLE}` and \
               `${file:/path}` are replaced.",
    },
    Key {
        name: "qos",
        kinds: &["mqtt"],
        repeats: false,
        default: "`0`",
        value: "0 or 1",
        help: "The quality of service. With 1 nothing is lost while the broker is there.",
    },
    Key {
        name: "version",
        kinds: &["mqtt"],
        repeats: false,
        default: "`5`",
        value: "4 or 5",
        help: "The protocol: 4 is MQTT 3.1.1, 5 is MQTT 5.",
    },
    Key {
        name: "client-id",
        kinds: &["mqtt"],
        repeats: false,
        default: "one of its own in every run",
        value: "a name",
        help: "The name at the broker, where the session then outlives the connection. Each edge \
               needs its own.",
    },
    Key {
        name: "channel",
        kinds: &[],
        repeats: false,
        default: "what the bus calls it: see the table of kinds",
        value: "a template",
        help: "The channel that a record goes to.",
    },
    Key {
        name: "filter",
        kinds: &[],
        repeats: true,
        default: "none",
        value: "a condition like `{json:/type}=trade*`, or with `!=`",
        help: "What must hold of a record, else it is passed over. All of several must hold.",
    },
    Key {
        name: "payload",
        kinds: &[],
        repeats: false,
        default: "the payload as it is",
        value: "a JSON pointer",
        help: "The part of the payload that is sent.",
    },
    Key {
        name: "key",
        kinds: &[],
        repeats: false,
        default: "none",
        value: "a template",
        help: "In channels of latest values, what a record is the value of.",
    },
    Key {
        name: "positions",
        kinds: &[],
        repeats: false,
        default: "`auto`",
        value: "auto, bus or local",
        help: "Who numbers the publications. With auto it is the bus wherever exactly one of its \
               sequences feeds a channel, so that clients may resume at any edge.",
    },
    Key {
        name: "in-flight",
        kinds: &[],
        repeats: false,
        default: "`4096`",
        value: "a whole number, 1 to 1048576",
        help: "Records that may be on their way to one shard. Where all are, the input stops reading, \
               or, if its bus cannot wait, drops and counts.",
    },
    Key {
        name: "to",
        kinds: &[],
        repeats: false,
        default: "`{channel}`",
        value: "a template of `{channel}`",
        help: "Where a publication to a channel goes on the bus, if `publish-to` names this input.",
    },
];
