//! Who may import whom, and where `unsafe` may be: a table for each crate.

/// A crate whose modules have their order.
pub struct Package {
    /// Where its sources are.
    pub folder: &'static str,
    /// What each module may import. Adding an edge here is a design decision: say why in the commit.
    pub may_import: &'static [(&'static str, &'static [&'static str])],
    /// Files and folders at the top that nothing imports.
    pub programs: &'static [&'static str],
    /// The modules that may hold `unsafe`.
    pub islands: &'static [&'static str],
}

pub const SERVER: Package = Package {
    folder: "src",
    may_import: &[
        ("access", &["ids", "limits", "policy", "shield"]),
        ("bus", &["frame", "ids", "inputs", "limits", "mapping", "mesh", "payload", "policy"]),
        ("close", &[]),
        ("config", &["access", "ids", "inputs", "limits", "mapping", "policy", "shield", "wire"]),
        (
            "control",
            &[
                "access", "close", "counters", "frame", "ids", "inputs", "limits", "live", "logs",
                "mesh", "orders", "payload", "policy", "report", "shield", "wire",
            ],
        ),
        ("counters", &["close", "frame", "report", "shield"]),
        ("doctor", &["config", "io", "limits"]),
        ("door", &["counters", "ids", "io", "limits"]),
        ("frame", &["ids"]),
        (
            "hub",
            &[
                "counters", "frame", "ids", "io", "limits", "log", "mesh", "policy", "report",
                "resume", "wire",
            ],
        ),
        ("ids", &["limits"]),
        ("inputs", &["frame", "ids", "mapping", "policy"]),
        ("io", &["ids", "limits"]),
        ("journal", &["frame", "ids", "limits", "mesh"]),
        ("limits", &[]),
        ("live", &[]),
        ("log", &["frame", "ids", "limits", "segment"]),
        ("logs", &[]),
        ("mapping", &["frame", "ids", "limits", "policy"]),
        ("mesh", &["frame", "ids", "io", "policy"]),
        ("orders", &["limits", "report"]),
        ("payload", &["frame"]),
        ("policy", &["ids"]),
        ("preface", &["ids", "io", "limits", "logs", "shield", "wire"]),
        ("report", &["close", "frame", "ids", "policy"]),
        ("resume", &["ids"]),
        ("segment", &[]),
        (
            "server",
            &[
                "access", "bus", "config", "control", "counters", "door", "hub", "ids", "inputs",
                "io", "journal", "limits", "live", "logs", "mesh", "orders", "policy", "preface",
                "report", "session", "shard", "shield", "watch", "wire",
            ],
        ),
        (
            "session",
            &[
                "access", "close", "frame", "ids", "limits", "mesh", "policy", "report", "resume",
                "shield", "wire",
            ],
        ),
        (
            "shard",
            &[
                "access", "close", "counters", "frame", "hub", "ids", "io", "journal", "limits",
                "live", "logs", "mesh", "policy", "report", "resume", "session", "shield",
                "timers",
            ],
        ),
        ("shield", &["ids", "limits"]),
        ("timers", &["ids"]),
        ("watch", &["limits", "orders"]),
        ("wire", &["close", "frame", "ids", "limits", "payload", "resume"]),
    ],
    programs: &["lib", "main", "cli"],
    islands: &["io", "segment"],
};

pub const LOADTEST: Package = Package {
    folder: "loadtest/src",
    may_import: &[
        (
            "agent",
            &[
                "decoder",
                "meter",
                "oracle",
                "order",
                "plan",
                "preflight",
                "record",
                "shared",
                "swarm",
                "tally",
            ],
        ),
        ("bus", &["plan"]),
        ("cli", &["options", "order", "plan", "profile", "report", "shelf", "slo", "units"]),
        ("decoder", &[]),
        ("live", &["record", "units"]),
        ("meter", &["record", "watch"]),
        ("options", &["bus", "decoder", "payload", "plan", "shelf", "slo", "units"]),
        ("oracle", &["payload", "tally"]),
        ("order", &["bus", "decoder", "plan", "tls"]),
        ("payload", &[]),
        ("plan", &["decoder"]),
        ("preflight", &["decoder", "order", "plan", "units", "watch"]),
        ("profile", &["decoder", "options", "order", "plan", "shelf", "tls"]),
        ("program", &["agent", "cli", "live", "record", "report", "run", "slo"]),
        ("publisher", &["bus", "order", "payload", "plan", "record", "shared"]),
        ("record", &["plan", "tally", "watch"]),
        ("report", &["plan", "record", "slo", "tally", "units", "watch"]),
        (
            "run",
            &[
                "agent",
                "live",
                "meter",
                "order",
                "preflight",
                "publisher",
                "record",
                "shared",
                "swarm",
                "tally",
                "watch",
            ],
        ),
        ("schedule", &["plan"]),
        ("shared", &["decoder", "oracle", "order", "plan", "schedule", "tally"]),
        ("shelf", &[]),
        ("slo", &["record", "shelf", "units"]),
        ("swarm", &["decoder", "oracle", "order", "payload", "plan", "shared", "tally", "tls"]),
        ("tally", &[]),
        ("tls", &[]),
        ("units", &[]),
        ("watch", &[]),
    ],
    programs: &["lib", "main"],
    islands: &[],
};

/// What the load tester may use of the server: the kernel, its trait's words, TLS before it.
pub const LOADTEST_USES: &[&str] = &["counters::Door", "door::", "io::", "ids::Slot", "limits::"];

pub const SIM: Package = Package {
    folder: "sim/src",
    may_import: &[
        ("book", &["plan"]),
        ("client", &["book", "plan", "wire"]),
        ("disk", &[]),
        ("judge", &["book", "plan"]),
        ("node", &[]),
        ("plan", &[]),
        ("run", &["book", "client", "plan", "world"]),
        ("wire", &[]),
        ("world", &["book", "client", "disk", "node", "plan"]),
    ],
    programs: &["lib", "main"],
    islands: &[],
};
