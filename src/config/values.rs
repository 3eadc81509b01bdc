//! The types of settings: how each is read from text and written back.
//!
//! Reading is strict. A number that wants a unit must have one, and a unit has one spelling, so
//! that nobody finds out in production that `5` meant milliseconds.
#![forbid(unsafe_code)]

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::table::Shape;
use crate::{
    limits::CERTIFICATES_MAX,
    shield::{Networks, NotNetworks},
};

/// What is wrong with a number below the range, whether or not the type has room for it.
pub(super) const TOO_LITTLE: &str = "is too little";
/// What is wrong with a number above it.
pub(super) const TOO_MUCH: &str = "is too much";

/// A type that a setting can have.
pub(super) trait Value: Sized + PartialOrd {
    /// The placeholder in `--help`.
    const NOUN: &'static str;
    /// What kind of value it is, with its article.
    const KIND: &'static str;
    /// Examples that follow the kind.
    const LIKE: &'static str;
    /// How many values make one.
    const SHAPE: Shape = Shape::One;

    /// Reads the value, or says what is wrong with the text: `has no unit`.
    fn parse(text: &str) -> Result<Self, String>;

    /// What to write instead of a text that cannot be read, where kind and examples do not say it.
    fn right(_text: &str) -> Option<String> {
        None
    }

    /// The value as an operator would write it. Parsing it gives the same value.
    fn text(&self) -> String;

    /// The value as it may be shown: without secrets, and an entry each where it has entries.
    fn shown(&self) -> Vec<String> {
        vec![self.text()]
    }

    /// How the value misses the range from `low` to `high`, if it does.
    fn outside(&self, low: &Self, high: &Self) -> Option<&'static str> {
        if self < low {
            return Some(TOO_LITTLE);
        }
        (self > high).then_some(TOO_MUCH)
    }
}

/// A number of bytes, written `64KiB`, `1MiB` or plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Size {
    /// The number of bytes, for lengths in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spelled(self.0, SIZE_UNITS))
    }
}

/// Host names without a port, in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Names(pub Vec<String>);

impl Value for Names {
    const NOUN: &'static str = "NAME";
    const KIND: &'static str = "host names";
    const LIKE: &'static str = "like control.example.com";
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(is_name_byte);
        let names = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        let names = names.map(|name| match is_name(name) {
            true => Ok(name.to_ascii_lowercase()),
            false => Err(format!("has '{name}', which is not a host name")),
        });
        names.collect::<Result<_, _>>().map(Names)
    }

    fn text(&self) -> String {
        self.0.join(",")
    }
}

/// A directory, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Directory(pub Option<PathBuf>);

impl Value for Directory {
    const NOUN: &'static str = "DIRECTORY";
    const KIND: &'static str = "a directory";
    const LIKE: &'static str = "like /var/lib/stentor";

    fn parse(text: &str) -> Result<Self, String> {
        match text.contains('\0') {
            true => Err("has a byte 0, which no path has".to_owned()),
            false => Ok(Directory(Some(text).filter(|text| !text.is_empty()).map(PathBuf::from))),
        }
    }

    fn text(&self) -> String {
        // It was made of text.
        self.0.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The name or the number of a user of this machine, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct UserName(pub String);

impl Value for UserName {
    const NOUN: &'static str = "USER";
    const KIND: &'static str = "a user";
    const LIKE: &'static str = "like stentor or 65534";

    fn parse(text: &str) -> Result<Self, String> {
        match text.contains([':', '\n', '\0']) {
            true => Err("has a character that no user's name has".to_owned()),
            false => Ok(UserName(text.to_owned())),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// Files, in an order that matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Paths(pub Vec<PathBuf>);

impl Value for Paths {
    const NOUN: &'static str = "FILE";
    const KIND: &'static str = "files";
    const LIKE: &'static str = "like /etc/stentor/edge.pem";
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        let paths = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        let paths = paths.map(|path| match (path, path.contains('\0')) {
            ("", _) => Err("has an empty name, which no file has".to_owned()),
            (_, true) => Err("has a byte 0, which no path has".to_owned()),
            (path, false) => Ok(PathBuf::from(path)),
        });
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        match paths.len() {
            0..=CERTIFICATES_MAX => Ok(Paths(paths)),
            many => Err(format!("has {many} files, and there may be {CERTIFICATES_MAX}")),
        }
    }

    fn text(&self) -> String {
        let paths: Vec<_> = self.0.iter().map(|path| path.to_string_lossy()).collect();
        paths.join(",")
    }
}

/// The name of an input, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct PublishTo(pub Option<Box<str>>);

impl Value for PublishTo {
    const NOUN: &'static str = "INPUT";
    const KIND: &'static str = "the name of an input";
    const LIKE: &'static str = "like nats";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(PublishTo(Some(text).filter(|text| !text.is_empty()).map(Box::from)))
    }

    fn text(&self) -> String {
        self.0.as_deref().unwrap_or_default().to_owned()
    }
}

/// A value that the server finds for itself unless it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub enum Auto<T> {
    /// The server decides.
    Auto,
    /// The operator has decided.
    Exactly(T),
}

impl<T> Auto<T> {
    /// The operator's value, or else `found`.
    pub fn or(self, found: T) -> T {
        match self {
            Auto::Auto => found,
            Auto::Exactly(value) => value,
        }
    }
}

/// Which way into the kernel the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub enum IoChoice {
    /// io_uring where it is to be had, otherwise epoll.
    Auto,
    /// io_uring or nothing.
    Uring,
    /// epoll.
    Epoll,
}

/// Directives for the log that `tracing_subscriber` has accepted.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct LogFilter(String);

impl LogFilter {
    /// The directives, for `EnvFilter`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: an object per line.
    Json,
}

impl Value for LogFormat {
    const NOUN: &'static str = "FORMAT";
    const KIND: &'static str = "text or json";
    const LIKE: &'static str = "";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err("is not among the choices".to_owned()),
        }
    }

    fn text(&self) -> String {
        match self {
            LogFormat::Text => "text".to_owned(),
            LogFormat::Json => "json".to_owned(),
        }
    }
}

impl Value for Duration {
    const NOUN: &'static str = "DURATION";
    const KIND: &'static str = "a duration";
    const LIKE: &'static str = "like 55s, 500ms or 2m";

    fn parse(text: &str) -> Result<Self, String> {
        match split_unit(text) {
            Some((_, "")) => Err("has no unit".to_owned()),
            parts => with_unit(parts, DURATION_UNITS, "a duration").map(Duration::from_millis),
        }
    }

    fn text(&self) -> String {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        spelled(millis, DURATION_UNITS)
    }
}

/// Reads a duration as settings have it: `55s`, `500ms` or `2m`. The error says what is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    Value::parse(text)
}

impl Value for Size {
    const NOUN: &'static str = "SIZE";
    const KIND: &'static str = "a size";
    const LIKE: &'static str = "like 64KiB, 1MiB or plain bytes";

    fn parse(text: &str) -> Result<Self, String> {
        with_unit(split_unit(text), SIZE_UNITS, "a size").map(Size)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for Networks {
    const NOUN: &'static str = "NETWORKS";
    const KIND: &'static str = "networks";
    const LIKE: &'static str = "like 10.0.0.0/8,2001:db8::/32";
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: NotNetworks| error.to_string())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    const NOUN: &'static str = "NUMBER";
    const KIND: &'static str = "a whole number";
    const LIKE: &'static str = "like 4096";

    fn parse(text: &str) -> Result<Self, String> {
        whole_number(text)
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl<T: FromStr + fmt::Display + PartialOrd> Value for Auto<T> {
    const NOUN: &'static str = "NUMBER";
    const KIND: &'static str = "auto, or a whole number";
    const LIKE: &'static str = "like 4";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Auto::Auto);
        }
        whole_number(text).map(Auto::Exactly)
    }

    fn text(&self) -> String {
        match self {
            Auto::Auto => "auto".to_owned(),
            Auto::Exactly(value) => value.to_string(),
        }
    }

    fn outside(&self, low: &Self, high: &Self) -> Option<&'static str> {
        match self {
            Auto::Auto => None,
            exactly if exactly < low => Some(TOO_LITTLE),
            exactly => (exactly > high).then_some(TOO_MUCH),
        }
    }
}

impl Value for bool {
    const NOUN: &'static str = "BOOL";
    const KIND: &'static str = "true or false";
    const LIKE: &'static str = "";
    const SHAPE: Shape = Shape::Switch;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is neither true nor false".to_owned())
    }

    fn text(&self) -> String {
        self.to_string()
    }
}

impl Value for IoChoice {
    const NOUN: &'static str = "KERNEL";
    const KIND: &'static str = "auto, uring or epoll";
    const LIKE: &'static str = "";

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(IoChoice::Auto),
            "uring" => Ok(IoChoice::Uring),
            "epoll" => Ok(IoChoice::Epoll),
            _ => Err("is not among the choices".to_owned()),
        }
    }

    fn text(&self) -> String {
        let text = match self {
            IoChoice::Auto => "auto",
            IoChoice::Uring => "uring",
            IoChoice::Epoll => "epoll",
        };
        text.to_owned()
    }
}

impl Value for LogFilter {
    const NOUN: &'static str = "FILTER";
    const KIND: &'static str = "levels";
    const LIKE: &'static str = "like info or info,stentor::shard=debug";

    /// `EnvFilter` takes a bare word that is no level for a module to be logged in full; here it
    /// is far more likely a level with a typing error, and a module can be given a level.
    fn parse(text: &str) -> Result<Self, String> {
        let bare = |word: &&str| !word.contains(['=', '[']);
        let unknown = |word: &&str| word.trim().parse::<LevelFilter>().is_err();
        if let Some(word) = text.split(',').filter(bare).find(unknown) {
            return Err(format!("has '{}', which is not a level", word.trim()));
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(LogFilter(text.to_owned())),
            Err(_) => Err("is not a tracing filter".to_owned()),
        }
    }

    fn text(&self) -> String {
        self.0.clone()
    }
}

/// Parses a number without a unit, digits only.
fn whole_number<T: FromStr>(text: &str) -> Result<T, String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if text.strip_prefix('-').is_some_and(is_number) {
        return Err(TOO_LITTLE.to_owned());
    }
    if !is_number(text) {
        return Err("is not a whole number".to_owned());
    }
    text.parse().map_err(|_| TOO_MUCH.to_owned())
}

/// Splits a text into its leading digits and the unit behind them; `None` without digits.
fn split_unit(text: &str) -> Option<(&str, &str)> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (digits > 0).then(|| text.split_at(digits))
}

/// The number in the smallest unit of `units`.
fn with_unit(parts: Option<(&str, &str)>, units: Units, kind: &str) -> Result<u64, String> {
    let (digits, unit) = parts.ok_or_else(|| format!("is not {kind}"))?;
    let known = units.iter().find(|(spelling, _)| *spelling == unit);
    let (_, scale) = known.ok_or_else(|| format!("has the unknown unit '{unit}'"))?;
    let number: Option<u64> = digits.parse().ok();
    number.and_then(|number| number.checked_mul(*scale)).ok_or_else(|| TOO_MUCH.to_owned())
}

/// The number with the largest unit that leaves no fraction.
fn spelled(number: u64, units: Units) -> String {
    let largest = units.iter().rfind(|(_, scale)| number.is_multiple_of(*scale));
    let (unit, scale) = largest.filter(|_| number > 0).unwrap_or(&units[UNIT_OF_ZERO]);
    format!("{}{unit}", number / scale)
}

/// Spellings and how many of the smallest unit each is, rising.
type Units = &'static [(&'static str, u64)];

const DURATION_UNITS: Units = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: Units =
    &[("B", 1), ("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Where the unit stands that zero is written with.
const UNIT_OF_ZERO: usize = 1;
