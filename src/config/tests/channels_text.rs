//! Patterns of channels: what each way of writing them means, and what each mistake is answered.

use std::time::Duration;

use super::*;
use crate::{
    ids::ChannelName,
    limits::{HISTORY_BYTES_UNLESS_TOLD, LATEST_KEYS_MAX, PATTERNS_MAX},
    policy::{Mode, Policy, Retention, Slow, Who},
};

fn flag(text: &str) -> Result<Config, ConfigErrors> {
    Config::with(&[("channels", text), ("token-key", "a.pem")])
}

fn policy(config: &Config, channel: &str) -> Policy {
    config.channels.policies().of(&ChannelName::new(channel).unwrap()).clone()
}

/// What is said and what follows from it, by a table of words and what they must mean.
#[test]
fn an_entry_means_what_it_says() {
    const BYTES: usize = HISTORY_BYTES_UNLESS_TOLD;
    let kept = |count, bytes, age| Policy {
        history: Retention { count, bytes, age },
        ..Policy::default()
    };
    let latest = |count, bytes| Policy { mode: Mode::Latest, ..kept(count, bytes, None) };
    let hour = Some(Duration::from_secs(3600));
    for (words, expected) in [
        ("", Policy::default()),
        ("history=0", Policy::default()),
        ("mode=log", Policy::default()),
        ("history=1000", kept(1000, BYTES, None)),
        ("history-bytes=1KiB", kept(u32::MAX, 1024, None)),
        ("history-age=1h", kept(u32::MAX, BYTES, hour)),
        ("history=7 history-bytes=9 history-age=60m", kept(7, 9, hour)),
        ("mode=latest", latest(LATEST_KEYS_MAX, BYTES)),
        ("mode=latest history=3", latest(3, BYTES)),
        ("history-bytes=64GiB mode=latest", latest(LATEST_KEYS_MAX, 64 << 30)),
        ("slow=close", Policy::default()),
        ("slow=skip", Policy { slow: Slow::Skip, ..Policy::default() }),
        ("slow=latest", Policy { slow: Slow::Latest, ..Policy::default() }),
        ("presence=true", Policy { presence: true, ..Policy::default() }),
        ("publish=true", Policy { publish: Who::Public, ..Policy::default() }),
        ("publish=token", Policy { publish: Who::Token, ..Policy::default() }),
        ("subscribe=nobody", Policy { subscribe: Who::Nobody, ..Policy::default() }),
        ("subscribe=public publish=false", Policy::default()),
        ("publish=public presence=false", Policy { publish: Who::Public, ..Policy::default() }),
    ] {
        assert_eq!(policy(&flag(&format!("a.* {words}")).unwrap(), "a.b"), expected, "{words}");
    }
}

/// Flag, variable and both forms of the file give the same policies.
#[test]
fn all_sources_mean_the_same() {
    let expected = "ticker.* history=1000 history-bytes=16MiB history-age=1h slow=skip; \
        user.* mode=latest history=10000 history-bytes=16MiB publish=public";
    let words =
        ["ticker.* history-age=60m history=1000 slow=skip", "user.* publish=true mode=latest"];
    let repeated = words.map(|text| ("channels", text.to_owned()));
    let flags = Inputs { flags: repeated.into(), ..Inputs::default() };
    let tables = "[[channels]]\nmatch = 'ticker.*'\nhistory = 1_000\nhistory-age = '1h'\n\
        slow = 'skip'\n[[channels]]\nmatch = 'user.*'\nmode = 'latest'\npublish = true\n";
    for config in [
        Config::load(&flags).unwrap().config,
        environment(&[("STENTOR_CHANNELS", &format!(" {};{} ; ", words[0], words[1]))]).unwrap(),
        file(tables).unwrap(),
        file(&format!("channels = ['{}', '{}']", words[0], words[1])).unwrap(),
        file(&format!("channels = '{}; {}'", words[0], words[1])).unwrap(),
    ] {
        let lines: Vec<_> = config.channels.policies().iter().collect();
        let patterns: Vec<_> = lines.iter().map(|(_, pattern, _)| pattern.as_str()).collect();
        assert_eq!(patterns, ["ticker.*", "user.*", "*", "*:presence"]);
        assert_eq!(config.channels, flag(expected).unwrap().channels, "{config}");
    }
}

/// Each kind of mistake names the word and what would be right, word for word.
#[test]
fn a_wrong_text_is_told_in_full() {
    let too_long = format!("*{}", "x".repeat(256));
    for (text, problem, right) in WRONG {
        let told = flag(text).unwrap_err().to_string();
        assert_eq!(told, format!("channels: '{text}' (from --channels) {problem}; {right}"));
    }
    let told = flag(&too_long).unwrap_err().to_string();
    assert!(told.ends_with(&format!("for those have at most 255 bytes; {NAMES}")), "{told}");
    assert!(told.starts_with(&format!("channels: '{}…' (", &too_long[..60])), "{told}");
}

/// Mistakes in tables are all told, each with its line.
#[test]
fn a_wrong_table_is_told_by_line() {
    for (text, told) in [
        (
            "[[channels]]\nmatch = 'a'\nhistroy = 5\nslow = 'never'",
            "'histroy' (from stentor.toml:3) is not a setting; did you mean 'history'?\n\
             slow: 'never' (from stentor.toml:4) is not among the choices; \
             write close or skip or latest",
        ),
        (
            "\n[[channels]]\nhistory = 5",
            "match: '' (from stentor.toml:2) is missing; \
             write the channels that this is for, like ticker.*",
        ),
        (
            "[[channels]]\nmatch = 'a b'",
            "match: 'a b' (from stentor.toml:2) matches no name, for none has the byte 0x20; \
             write letters, digits and ._-:/ and * for any of them, like ticker.*",
        ),
        (
            "[[channels]]\nmatch = 'a'\nhistory = [5]",
            "history: '[…]' (from stentor.toml:3) is a list; write a whole number, 0 to 1000000000",
        ),
        (
            "[[channels]]\nmatch = '*'\n[[channels]]\nslow = 'skip'\nmatch = 'b'",
            "match: 'b' (from stentor.toml:5) is never reached behind '*'; \
             the first that matches decides, so write the narrower one first",
        ),
        (
            "[channels]\nmatch = 'a'",
            "channels: '{…}' (from stentor.toml:1) is a table; \
             write [[channels]], with two brackets",
        ),
        (
            "channels = [\n5]",
            "channels: '5' (from stentor.toml:2) is neither text nor table; write patterns with \
             what holds for them like ticker.* history=1000 slow=skip; user.* mode=latest",
        ),
    ] {
        assert_eq!(file(text).unwrap_err().to_string(), told);
    }
}

/// As many patterns as allowed are taken, in their order, and one more is not.
#[test]
fn patterns_are_bounded() {
    let patterns = |count| (0..count).map(|n| format!("{n};")).collect::<String>();
    let config = flag(&patterns(PATTERNS_MAX)).unwrap();
    assert_eq!(config.channels.policies().iter().count(), PATTERNS_MAX + 2);
    let told = flag(&patterns(PATTERNS_MAX + 1)).unwrap_err().to_string();
    let expected = "has the pattern '1000', which is one more than the 1000 that there may be; \
        let one pattern with a * stand for several";
    assert!(told.ends_with(expected), "{told}");
}

const NAMES: &str = "write letters, digits and ._-:/ and * for any of them, like ticker.*";

/// Texts, what is wrong with each, and what would be right.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "a b",
        "has 'b', which is no setting of channels",
        "write words like history=1000 behind a pattern, and a ; before the next",
    ),
    (
        "a depth=5",
        "has 'depth=5', which is no setting of channels",
        "there are mode, history, history-bytes, history-age, slow, presence, subscribe, publish",
    ),
    ("a histroy=5", "has 'histroy=5', which is no setting of channels", "did you mean 'history'?"),
    (
        "a history=x",
        "has 'history=x', which is not a whole number",
        "write a whole number like 4096",
    ),
    (
        "a history=1000000001",
        "has 'history=1000000001', which is too much",
        "write a whole number from 0 to 1000000000",
    ),
    (
        "a history-bytes=0",
        "has 'history-bytes=0', which is too little",
        "write a size from 1 to 64GiB",
    ),
    (
        "a history-bytes=65GiB",
        "has 'history-bytes=65GiB', which is too much",
        "write a size from 1 to 64GiB",
    ),
    (
        "a history-age=577h",
        "has 'history-age=577h', which is too much",
        "write a duration from 1s to 576h",
    ),
    (
        "a history-age=60",
        "has 'history-age=60', which has no unit",
        "write a duration like 55s, 500ms or 2m",
    ),
    (
        "a slow=drop",
        "has 'slow=drop', which is not among the choices",
        "write close or skip or latest",
    ),
    ("a mode=log mode=log", "has 'mode=log', which is given a second time", "write it once"),
    (
        "a history=0 history-age=1m",
        "has 'history-age=1m', which is about what is kept, and history=0 keeps nothing",
        "leave out one of the two",
    ),
    (
        "a mode=latest history=0",
        "has 'mode=latest', which is about what is kept, and history=0 keeps nothing",
        "leave out one of the two",
    ),
    ("a; b+c", "has the pattern 'b+c', which matches no name, for none has the byte 0x2b", NAMES),
    (
        "a; b; a history=1",
        "has the pattern 'a', which is there already",
        "the first decides, so leave out one of the two",
    ),
    (
        "a.*; a.b*",
        "has the pattern 'a.b*', which is never reached behind 'a.*'",
        "the first that matches decides, so write the narrower one first",
    ),
];
