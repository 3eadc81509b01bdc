//! What holds for every setting, by iterating over the table, and what each mistake is answered.

mod channels_text;
mod clashes;
mod inputs_text;
mod inputs_wrong;
mod reload;
mod secrets;

use std::path::Path;

use super::*;

fn owned(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let inputs = Inputs { environment: owned(pairs), ..Inputs::default() };
    Config::load(&inputs).map(|loaded| loaded.config)
}

fn file(text: &str) -> Result<Config, ConfigErrors> {
    let mut told = ConfigErrors::default();
    let layer = sources::file(Path::new("stentor.toml"), text, &mut told);
    Config::from_layers(&[layer], &|_| None, told).map(|loaded| loaded.config)
}

/// Three values of a setting, none its default, that fit beside the defaults of all others.
fn samples(setting: &Setting) -> [&'static str; 3] {
    match (setting.name, setting.noun) {
        ("client-header", _) => ["forwarded", "x-forwarded-for", "forwarded"],
        ("echo" | "proxy-protocol" | "control-open", _) => ["true", "true", "true"],
        ("io", _) => ["uring", "epoll", "uring"],
        ("log-format", _) => ["json", "json", "json"],
        ("head-max" | "frame-max", _) => ["1KiB", "2KiB", "3KiB"],
        ("publication-max", _) => ["64KiB", "65KiB", "66KiB"],
        ("control", _) => ["[::1]:3", "[::1]:4", "0.0.0.0:5"],
        ("listen-tls", _) => ["[::1]:6", "[::1]:7", "0.0.0.0:8"],
        (_, "SIZE") => ["2MiB", "3MiB", "5000001"],
        (_, "DURATION") => ["40s", "41s", "42s"],
        (_, "ADDRESS") => ["[::1]:1", "[::1]:2", "0.0.0.0:3"],
        (_, "NUMBER") => ["17", "18", "19"],
        (_, "ORIGIN") => ["https://a", "null", "*,https://a"],
        (_, "NAME") => ["a", "b.example", "c,d"],
        (_, "USER") => ["edge", "65534", "www-data"],
        (_, "NETWORKS") => ["10.0.0.0/8", "::1", "192.0.2.1,2001:db8::/32"],
        (_, "FILE") => ["/etc/a.pem", "b", "/etc/c d"],
        (_, "TEXT") => ["https://a", "b", "c d"],
        (_, "URL") => ["http://a", "https://b:1/c", "http://[::1]:4318"],
        (_, "HEADERS") => ["a=b", "x-a=b c,y=z=", "authorization=Bearer abc"],
        ("api-key", _) => ["0123456789abcdef", "fedcba9876543210", "with:colons:and more"],
        (_, "DIRECTORY" | "PATH") => ["/var/a", "/b", "/var/c d"],
        (_, "CHANNELS") => [
            "a history=1 history-bytes=16MiB",
            "a.* mode=latest history=10000 history-bytes=1KiB slow=latest; * presence=true",
            "b history-bytes=16MiB history-age=1h slow=skip publish=public; *:b",
        ],
        (_, "INPUTS") => [
            "nats name=nats url=nats://a subject=ticks.> channel={subject}",
            "kafka name=k brokers=a:1 topic=b channel=b.{partition} filter=\"{key}=a; b\"; \
             lines name=lines from=stdin channel=logs",
            "mqtt name=mqtt url=mqtt://a topic=# topic=\"a \\\"b\\\\\" qos=1 channel={topic} \
             filter={json:/a}!=b",
        ],
        // Of the inputs that stand beside it.
        (_, "INPUT") => ["a", "b", "c"],
        (_, "FILTER") => ["debug", "info,stentor::shard=trace", "off"],
        _ => panic!("{} has no samples: give it some", setting.name),
    }
}

/// What a setting needs beside it to have its samples.
fn companions(setting: &Setting) -> Vec<(&'static str, &'static str)> {
    match setting.name {
        "control-client-ca" => vec![("control-tls-cert", "a")],
        "listen-tls" => vec![("tls-cert", "a")],
        "tls-cert" => vec![("listen-tls", "127.0.0.1:1")],
        "tls-key" => vec![("listen-tls", "127.0.0.1:1"), ("tls-cert", "a")],
        "control-tls-key" => vec![("control-tls-cert", "a")],
        "proxy-protocol" | "client-header" => vec![("trusted", "10.0.0.0/8")],
        "otlp-header" | "trace-sample" => vec![("otlp-endpoint", "http://a")],
        "publish-to" => vec![(
            "inputs",
            "nats name=a url=nats://a subject=a; nats name=b url=nats://a subject=b; \
             nats name=c url=nats://a subject=c",
        )],
        "control" => vec![("control-open", "true")],
        _ => Vec::new(),
    }
}

/// A flag beats the environment, the environment beats the file, the file beats the default; for
/// every setting, and each value arrives as it was written, with its source.
///
/// Method: all three name the setting, with a value each; then one after the other falls silent.
#[test]
fn every_setting_follows_the_precedence() {
    let path = std::env::temp_dir().join(format!("stentor-config-{}.toml", std::process::id()));
    for (at, setting) in SETTINGS.iter().enumerate() {
        let [flag, variable, key] = samples(setting);
        fs::write(&path, format!("\n{} = '{key}'", setting.name)).unwrap();
        let beside = companions(setting).into_iter().map(|(name, text)| (name, text.to_owned()));
        let beside: Vec<_> = beside.collect();
        let mut inputs = Inputs {
            flags: [(setting.name, flag.to_owned())].into_iter().chain(beside.clone()).collect(),
            input: Vec::new(),
            environment: owned(&[(setting.variable, variable)]),
            file: Some(path.clone()),
        };
        let place = Source::File { path: path.clone().into(), line: 2 };
        let holds = |inputs: &Inputs, text: &str, source: Source| {
            let loaded = Config::load(inputs).expect(setting.name);
            assert_eq!(loaded.config.settings.texts()[at], text, "{} from {source}", setting.name);
            assert_eq!(loaded.config.sources[at], source, "{}", setting.name);
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        };
        holds(&inputs, flag, Source::Flag(setting.name));
        inputs.flags = beside;
        holds(&inputs, variable, Source::Environment(setting.variable));
        inputs.environment.clear();
        holds(&inputs, key, place);
        inputs.file = None;
        // Some of what stands beside it is refused without it.
        inputs.flags.clear();
        holds(&inputs, setting.default, Source::Default);
    }
    fs::remove_file(path).unwrap();
}

/// A default is written as the server itself would write it, lies in its range, and has a help
/// that ends as a sentence. Names are unique.
#[test]
fn every_row_of_the_table_is_sound() {
    let texts = Config::default().settings.texts();
    for (setting, text) in SETTINGS.iter().zip(texts) {
        assert_eq!(text, setting.default, "{}", setting.name);
        assert!(setting.help.ends_with('.'), "{}", setting.name);
        assert!(!setting.help.contains("  "), "{}", setting.name);
        assert_eq!(
            setting.variable,
            format!("STENTOR_{}", setting.name.to_uppercase()).replace('-', "_")
        );
        for bound in setting.range.iter().flat_map(|(low, high)| [low, high]) {
            let told = Config::with(&[(setting.name, bound)]).err().map(|told| told.to_string());
            let clash = |told: &String| told.contains("(default)") && !told.contains("is too");
            assert!(told.as_ref().is_none_or(clash), "{} {bound}: {told:?}", setting.name);
        }
    }
    let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SETTINGS.len());
}

/// What is printed as the effective configuration is a settings file that gives the same settings.
#[test]
fn the_effective_configuration_can_be_read_back() {
    let pairs: Vec<_> =
        SETTINGS.iter().map(|setting| (setting.name, samples(setting)[2])).collect();
    let inputs = "nats name=c url=nats://a subject=a; \
        lines name=lines from=\"unix:/a; b\" channel=\"{json:/a\\\\\\\" b}\"";
    // A secret is not printed.
    let replaced = ["inputs", "api-key", "otlp-header"];
    let pairs: Vec<_> = pairs.into_iter().filter(|(name, _)| !replaced.contains(name)).collect();
    let pairs = [&pairs[..], &[("inputs", inputs)]].concat();
    for config in [Config::default(), Config::with(&pairs).unwrap()] {
        let printed = config.to_string();
        assert_eq!(file(&printed).unwrap().settings, config.settings, "{printed}");
    }
}

/// The sources stand in one column, whatever the values.
#[test]
fn sources_are_aligned_behind_the_values() {
    let config = environment(&[("STENTOR_PING_INTERVAL", "1m")]).unwrap().to_string();
    let lines: Vec<&str> = config.lines().filter(|line| line.contains(" = ")).collect();
    let column = lines[0].rfind("# ").unwrap();
    assert_eq!(lines.len(), SETTINGS.len());
    assert!(lines.iter().all(|line| line.rfind("# ") == Some(column)), "{config}");
    assert!(
        config.contains("ping-interval = \"1m\"") && config.contains("# STENTOR_PING_INTERVAL")
    );
    assert!(config.starts_with("# Listening\nlisten = [\"127.0.0.1:8080\"]"), "{config}");
}

/// Each kind of mistake is answered with where it came from, the setting, the value and what
/// would be right, word for word.
#[test]
fn a_wrong_value_is_told_in_full() {
    for (variable, value, told) in [
        (
            "PING_INTERVAL",
            "5",
            "ping-interval: '5' (from STENTOR_PING_INTERVAL) has no unit; \
            write a duration like 55s, 500ms or 2m",
        ),
        (
            "DRAIN",
            "5sec",
            "drain: '5sec' (from STENTOR_DRAIN) has the unknown unit 'sec'; \
            write a duration like 55s, 500ms or 2m",
        ),
        (
            "DRAIN",
            "soon",
            "drain: 'soon' (from STENTOR_DRAIN) is not a duration; \
            write a duration like 55s, 500ms or 2m",
        ),
        (
            "DRAIN",
            "99999999999999999h",
            "drain: '99999999999999999h' (from STENTOR_DRAIN) is too much; \
            write a duration from 0s to 1h",
        ),
        (
            "STALL_TIMEOUT",
            "2h",
            "stall-timeout: '2h' (from STENTOR_STALL_TIMEOUT) is too much; \
            write a duration from 1s to 1h",
        ),
        (
            "STALL_TIMEOUT",
            "1ms",
            "stall-timeout: '1ms' (from STENTOR_STALL_TIMEOUT) is too little; \
            write a duration from 1s to 1h",
        ),
        (
            "LAG_MAX",
            "4MB",
            "lag-max: '4MB' (from STENTOR_LAG_MAX) has the unknown unit 'MB'; \
            write a size like 64KiB, 1MiB or plain bytes",
        ),
        (
            "LAG_MAX",
            "",
            "lag-max: '' (from STENTOR_LAG_MAX) is not a size; \
            write a size like 64KiB, 1MiB or plain bytes",
        ),
        (
            "HEAD_MAX",
            "1MiB",
            "head-max: '1MiB' (from STENTOR_HEAD_MAX) is too much; \
            write a size from 512 to 64KiB",
        ),
        (
            "INBOX",
            "-1",
            "inbox: '-1' (from STENTOR_INBOX) is too little; \
            write a whole number from 16 to 1048576",
        ),
        (
            "INBOX",
            "99999999999",
            "inbox: '99999999999' (from STENTOR_INBOX) is too much; \
            write a whole number from 16 to 1048576",
        ),
        (
            "SHARDS",
            "0",
            "shards: '0' (from STENTOR_SHARDS) is too little; \
            write auto, or a whole number from 1 to 256",
        ),
        (
            "SHARDS",
            "many",
            "shards: 'many' (from STENTOR_SHARDS) is not a whole number; \
            write auto, or a whole number like 4",
        ),
        (
            "LISTEN",
            "localhost:80",
            "listen: 'localhost:80' (from STENTOR_LISTEN) has 'localhost:80', which is \
            not an IP address with a port; write addresses like 127.0.0.1:8080 or [::]:8080",
        ),
        (
            "IO",
            "kqueue",
            "io: 'kqueue' (from STENTOR_IO) is not among the choices; \
            write auto, uring or epoll",
        ),
        (
            "ECHO",
            "yes",
            "echo: 'yes' (from STENTOR_ECHO) is neither true nor false; \
            write true or false",
        ),
        (
            "LOG",
            "inof",
            "log: 'inof' (from STENTOR_LOG) has 'inof', which is not a level; \
            write levels like info or info,stentor::shard=debug",
        ),
        (
            "LOG",
            "a=b=c",
            "log: 'a=b=c' (from STENTOR_LOG) is not a tracing filter; \
            write levels like info or info,stentor::shard=debug",
        ),
        (
            "ALLOW_ORIGIN",
            "https://a/",
            "allow-origin: 'https://a/' (from STENTOR_ALLOW_ORIGIN) has \
            'https://a/', which is not an origin; write origins like https://example.com, or null, or *",
        ),
    ] {
        let variable = format!("STENTOR_{variable}");
        assert_eq!(environment(&[(&variable, value)]).unwrap_err().to_string(), told);
    }
}

/// Settings that are right alone and wrong together name each other and where both came from.
#[test]
fn a_clash_names_both_settings() {
    for (pairs, told) in [
        (
            &[("control", "0.0.0.0:8080"), ("control-open", "true")][..],
            "control: '0.0.0.0:8080' (from --control) is the same \
            port as listen '127.0.0.1:8080' (default); give each listener its own port",
        ),
        (
            &[("message-max", "32KiB")],
            "message-max: '32KiB' (from --message-max) is below \
            frame-max '64KiB' (default); raise message-max or lower frame-max",
        ),
        (
            &[("lag-max", "64KiB"), ("publication-max", "65KiB")],
            "lag-max: '64KiB' (from --lag-max) \
            is below publication-max '65KiB' (from --publication-max); \
            let it hold one publication at least",
        ),
        (
            &[("ping-interval", "10s")],
            "pong-timeout: '20s' (default) is above ping-interval '10s' \
            (from --ping-interval); let it end before the next ping",
        ),
        (
            &[("listen", "")],
            "listen: '' (from --listen) leaves subscribers nowhere to connect; \
            write addresses like 127.0.0.1:8080 or [::]:8080",
        ),
        (
            &[("control", "0.0.0.0:8081")],
            "control: '0.0.0.0:8081' (from --control) is reached from other machines, and there is \
            no key for it; set --api-key, --api-key-file, --token-key or --token-jwks, or listen \
            on 127.0.0.1; --control-open lets everybody publish",
        ),
        (
            &[("channels", "a subscribe=token")],
            "channels: 'a subscribe=token' (from --channels) wants tokens, and there is no key to \
            verify them with; set --token-key or --token-jwks",
        ),
        (
            &[("retry-after", "1500ms")],
            "retry-after: '1500ms' (from --retry-after) is not in whole \
            seconds, as HTTP wants it; write a duration like 5s or 2m",
        ),
    ] {
        assert_eq!(Config::with(pairs).unwrap_err().to_string(), told);
    }
}

/// A settings file is answered with the line of the mistake.
#[test]
fn a_wrong_file_is_told_by_line() {
    for (text, told) in [
        (
            "\nping-intervall = '55s'",
            "'ping-intervall' (from stentor.toml:2) is not a setting; \
            did you mean 'ping-interval'?",
        ),
        (
            "[tls]\ncertificate = 'x'",
            "'tls' (from stentor.toml:1) is not a setting; \
            `stentor config --reference` lists all of them",
        ),
        (
            "ping-interval = 55",
            "ping-interval: '55' (from stentor.toml:1) has no unit; \
            write a duration like 55s, 500ms or 2m",
        ),
        (
            "drain = ['5s']",
            "drain: '[…]' (from stentor.toml:1) is a list; \
            write a duration like 55s, 500ms or 2m",
        ),
        (
            "drain = {}",
            "drain: '{…}' (from stentor.toml:1) is a table; \
            write a duration like 55s, 500ms or 2m",
        ),
        (
            "inbox = 1.5",
            "inbox: '1.5' (from stentor.toml:1) is not a whole number; \
            write a whole number like 4096",
        ),
        (
            "journal = \"a\\u0000\"",
            "journal: 'a\0' (from stentor.toml:1) has a byte 0, which no path has; \
            write a directory like /var/lib/stentor",
        ),
        (
            "inbox = -4",
            "inbox: '-4' (from stentor.toml:1) is too little; \
            write a whole number from 16 to 1048576",
        ),
    ] {
        assert_eq!(file(text).unwrap_err().to_string(), told);
    }
    let told = file("listen = 'x'\ninbox =").unwrap_err().to_string();
    assert!(told.starts_with("stentor.toml:2 is not TOML: "), "{told}");
}

/// Everything that is wrong is told at once, wherever it is, and warnings after it. What clashes
/// only because something else is wrong is not told.
#[test]
fn all_mistakes_are_told_at_once() {
    let environment = owned(&[("STENTOR_INBOX", "x"), ("STENTOR_DRAAIN", "5s")]);
    let mut told = ConfigErrors::default();
    let layers = [
        sources::environment(&environment, &mut told),
        sources::file(Path::new("f"), "lisen = 1\ncontrol = '127.0.0.1:8080'", &mut told),
    ];
    let told = Config::from_layers(&layers, &|_| None, told).unwrap_err().to_string();
    let starts: Vec<_> = told.lines().filter_map(|line| line.split_once(" (")).collect();
    assert_eq!(
        starts.iter().map(|(start, _)| *start).collect::<Vec<_>>(),
        ["'lisen'", "inbox: 'x'"]
    );
    assert!(told.ends_with("did you mean 'STENTOR_DRAIN'?"), "{told}");
}

/// TOML's own types and lists mean what they say.
#[test]
fn toml_types_are_understood() {
    let text = "max-connections = 100_000\nhead-max = 0x1000\necho = true\n\
        allow-origin = ['https://a', '*']\nlag-max = 8388608";
    let config = file(text).unwrap();
    assert_eq!(config.max_connections, Auto::Exactly(100_000));
    assert_eq!((config.head_max, config.lag_max), (Size(4096), Size(8 << 20)));
    assert!(config.echo && config.allow_origin.allow(Some("https://b"), "a"));
}

/// A file that is not there is told by its name, wherever that came from.
#[test]
fn a_missing_file_is_told_by_name() {
    let told = environment(&[("STENTOR_CONFIG", "/nowhere/stentor.toml")]).unwrap_err().to_string();
    assert!(told.starts_with("cannot read the settings in /nowhere/stentor.toml: "), "{told}");
    let inputs = Inputs { file: Some("/nowhere/flag.toml".into()), ..Inputs::default() };
    assert!(Config::load(&inputs).unwrap_err().to_string().contains("/nowhere/flag.toml"));
}

/// The reference has one row for every setting, with its name, variable and default.
#[test]
fn the_reference_has_every_setting() {
    let reference = reference();
    for setting in SETTINGS {
        let row = format!("| `{}` | `{}` | ", setting.name, setting.variable);
        assert_eq!(reference.matches(&row).count(), 1, "{reference}");
    }
    let (settings, keys) = reference.split_once("\n### Of each pattern").unwrap();
    let (keys, inputs) = keys.split_once("\n### Kinds of inputs").unwrap();
    for kind in &inputs::KINDS {
        assert_eq!(inputs.matches(&format!("\n| `{}` | ", kind.name)).count(), 1, "{reference}");
    }
    let (_, inputs) = inputs.split_once("\n### Of each input").unwrap();
    for key in &inputs::KEYS {
        let rows = inputs::KEYS.iter().filter(|other| other.name == key.name).count();
        assert_eq!(inputs.matches(&format!("\n| `{}` | ", key.name)).count(), rows, "{reference}");
    }
    let rows = inputs.lines().filter(|line| line.starts_with("| "));
    assert!(rows.clone().all(|row| row.matches(" | ").count() == 4), "{reference}");
    assert_eq!(rows.count(), inputs::KEYS.len() + 2);
    for key in &channels::KEYS {
        assert_eq!(keys.matches(&format!("\n| `{}` | ", key.name)).count(), 1, "{reference}");
    }
    let rows = settings.lines().filter(|line| line.starts_with("| `"));
    assert!(rows.clone().all(|row| row.matches(" | ").count() == 5), "{reference}");
    assert_eq!(rows.count(), SETTINGS.len());
}

/// The largest publication that can be set is the largest that every part can bear.
#[test]
fn publications_are_bounded_as_built() {
    let setting = SETTINGS.iter().find(|setting| setting.name == "publication-max").unwrap();
    let (_, most) = setting.range.unwrap();
    assert_eq!(
        values::Value::parse(most).map(|size: Size| size).unwrap().bytes(),
        crate::limits::PUBLICATION_BYTES_MAX
    );
}
