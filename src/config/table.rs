//! One row per setting, from which everything else is made: the typed field, the flag, the
//! environment variable, the TOML key, the help and the reference.
//!
//! The `settings!` macro turns the rows of `settings.rs` into the [`Settings`] struct and the
//! [`SETTINGS`] table, so a setting cannot exist in one and be forgotten in the other.
//!
//! [`Settings`]: super::Settings
//! [`SETTINGS`]: super::SETTINGS
#![forbid(unsafe_code)]

/// What is known of a setting before anybody has given it a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The TOML key, and the flag without its dashes: `ping-interval`.
    pub name: &'static str,
    /// The environment variable: `STENTOR_PING_INTERVAL`.
    pub variable: &'static str,
    /// The heading that it stands under in help and reference.
    pub group: &'static str,
    /// What it is when nobody says otherwise, written as an operator would.
    pub default: &'static str,
    /// The least and the most that it may be.
    pub range: Option<(&'static str, &'static str)>,
    /// What it does, in a sentence or two.
    pub help: &'static str,
    /// The placeholder for its value in `--help`: `DURATION`.
    pub noun: &'static str,
    /// What kind of value is right: `a duration`.
    pub kind: &'static str,
    /// Examples that follow the kind: `like 55s, 500ms or 2m`. Empty if the kind says it all.
    pub like: &'static str,
    /// How many values it takes.
    pub shape: Shape,
    /// Whether a reload puts a new value into effect; otherwise a restart does.
    pub is_live: bool,
}

/// How many values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    One,
    /// `true` or `false`; as a flag, its bare name means `true`.
    Switch,
    /// Any number: a repeated flag, commas in the environment, an array in TOML.
    List,
    /// Any number of entries of several words: a repeated flag, semicolons in the environment, an
    /// array or tables in TOML.
    Entries,
}

impl Shape {
    /// What separates several values in one text.
    pub(super) fn separator(self) -> &'static str {
        match self {
            Shape::Entries => "; ",
            Shape::One | Shape::Switch | Shape::List => ",",
        }
    }
}

impl Setting {
    /// What to write instead of a value that cannot be read.
    pub fn right(&self) -> String {
        format!("write {} {}", self.kind, self.like).trim_end().to_owned()
    }

    /// What to write instead of a value outside the range.
    pub fn right_range(&self) -> String {
        match self.range {
            Some((low, high)) => format!("write {} from {low} to {high}", self.kind),
            None => self.right(),
        }
    }
}

/// The field's name as the name of a setting: with dashes.
pub(super) const fn dashed<const N: usize>(field: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        let byte = field.as_bytes()[at];
        bytes[at] = if byte == b'_' { b'-' } else { byte };
        at += 1;
    }
    bytes
}

/// The text in capitals.
pub(super) const fn capitals<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = text.as_bytes()[at].to_ascii_uppercase();
        at += 1;
    }
    bytes
}

/// The bytes as text; they come from identifiers, so a failure fails the build.
pub(super) const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("identifiers are UTF-8"),
    }
}

/// What a row may have behind its arrow.
pub(super) const fn is_live(word: &str) -> bool {
    assert!(matches!(word.as_bytes(), b"live"), "a row ends in `=> live` or in nothing");
    true
}

/// Makes [`Settings`](super::Settings) and [`SETTINGS`](super::SETTINGS) from one row per setting:
/// the help as a doc comment, then `field: Type = default, least to most;`, the values as text. A row
/// that ends in `=> live` has what a running server can take over.
macro_rules! settings {
    ($($group:literal {$(
        $(#[doc = $help:literal])+
        $field:ident: $type:ty = $default:literal $(, $low:literal to $high:literal)?
            $(=> $live:ident)?;
    )+})+) => {
        /// The value of every setting. Read it through [`Config`](super::Config), which cannot be
        /// made from values that do not fit together.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Settings {$($(
            $(#[doc = $help])+
            pub $field: $type,
        )+)+}

        /// Every setting, in the order of the reference.
        pub const SETTINGS: &[Setting] = &[$($(Setting {
            name: {
                const BYTES: [u8; stringify!($field).len()] = dashed(stringify!($field));
                text(&BYTES)
            },
            variable: {
                const NAME: &str = concat!("STENTOR_", stringify!($field));
                const BYTES: [u8; NAME.len()] = capitals(NAME);
                text(&BYTES)
            },
            group: $group,
            default: $default,
            range: [$(Some(($low, $high)),)? None][0],
            help: concat!($($help),+).trim_ascii(),
            noun: <$type as Value>::NOUN,
            kind: <$type as Value>::KIND,
            like: <$type as Value>::LIKE,
            shape: <$type as Value>::SHAPE,
            is_live: [$(is_live(stringify!($live)),)? false][0],
        },)+)+];

        impl Settings {
            /// Reads every setting from what was given for it, in the order of [`SETTINGS`], and
            /// tells everything that is wrong, not only the first.
            pub(super) fn read(given: &[Given]) -> Result<Self, Vec<ConfigError>> {
                let mut rows = SETTINGS.iter().zip(given);
                let mut wrong = Vec::new();
                $($(let $field: Option<$type> = read_next(&mut rows, &mut wrong);)+)+
                if !wrong.is_empty() {
                    return Err(wrong);
                }
                const READ: &str = "nothing was wrong, so everything was read";
                Ok(Self {$($($field: $field.expect(READ),)+)+})
            }

            /// Takes over those values that a running server can.
            pub(super) fn take_live(&mut self, newer: &Self) {
                $($($(
                    const _: bool = is_live(stringify!($live));
                    self.$field.clone_from(&newer.$field);
                )?)+)+
            }

            /// Every value as an operator would write it, in the order of [`SETTINGS`].
            pub(super) fn texts(&self) -> Vec<String> {
                vec![$($(self.$field.text(),)+)+]
            }

            /// Every value as it may be shown, in the order of [`SETTINGS`].
            pub(super) fn shown(&self) -> Vec<Vec<String>> {
                vec![$($(self.$field.shown(),)+)+]
            }
        }
    };
}
pub(super) use settings;
