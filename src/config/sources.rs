//! Where values come from: flags, the environment, a TOML file. Each is read into a [`Layer`] of
//! texts that remember their [`Source`]; what the texts mean is decided later, once for all.
#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    SETTINGS,
    error::{ConfigError, ConfigErrors, hint},
    inputs::{Trouble, text_of_flags},
    table::{Setting, Shape},
    tables,
};

/// Who gave a setting its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody: the default holds.
    Default,
    /// The settings file.
    File {
        /// As it was named to us.
        path: Arc<PathBuf>,
        /// Counted from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(&'static str),
    /// A flag, by its name without dashes.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => write!(f, "default"),
            Source::File { path, line } => write!(f, "{}:{line}", path.display()),
            Source::Environment(variable) => write!(f, "{variable}"),
            Source::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// A value as somebody wrote it. The values of a list are separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    pub text: String,
    pub source: Source,
}

/// What one source gave, by the names of settings.
pub(super) type Layer = BTreeMap<&'static str, Given>;

/// What was given on the command line. A flag that was repeated counts as one list.
pub(super) fn flags(pairs: &[(&'static str, String)]) -> Layer {
    let mut layer = Layer::new();
    for (name, text) in pairs {
        let source = Source::Flag(name);
        layer
            .entry(name)
            .and_modify(|given| given.text = format!("{}{}{text}", given.text, separator(name)))
            .or_insert_with(|| Given { text: text.clone(), source });
    }
    layer
}

/// The input that flags of its own make, behind those that are given whole.
pub(super) fn input_of_flags(
    pairs: &[(&'static str, String)],
    layer: &mut Layer,
    told: &mut ConfigErrors,
) {
    match text_of_flags(pairs) {
        Ok(None) => (),
        Ok(Some((flag, text))) => {
            let given = Given { text, source: Source::Flag(flag) };
            layer
                .entry("inputs")
                .and_modify(|whole| whole.text = format!("{}; {}", whole.text, given.text))
                .or_insert(given);
        }
        Err((name, value, Trouble { problem, right })) => {
            let place = Source::Flag(name);
            told.wrong.push(ConfigError::Wrong { name, value, place, problem, right });
        }
    }
}

fn separator(name: &str) -> &'static str {
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    setting.map_or(",", |setting| setting.shape.separator())
}

/// What the environment gives. A variable that looks like ours and is not gets a warning.
///
/// It is not refused: Kubernetes makes such variables for every service whose name begins with
/// ours, and they must not keep the server from starting.
pub(super) fn environment(variables: &[(OsString, OsString)], told: &mut ConfigErrors) -> Layer {
    let mut layer = Layer::new();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let Some(setting) = SETTINGS.iter().find(|setting| setting.variable == variable) else {
            told.warnings.extend(unknown_variable(variable, &value.to_string_lossy()));
            continue;
        };
        let source = Source::Environment(setting.variable);
        match value.to_str() {
            Some(text) => {
                layer.insert(setting.name, Given { text: text.to_owned(), source });
            }
            None => told.wrong.push(not_text(setting, value.to_string_lossy().into(), source)),
        }
    }
    layer
}

fn not_text(setting: &Setting, value: String, place: Source) -> ConfigError {
    let (problem, right) = ("is not UTF-8".to_owned(), setting.right());
    ConfigError::Wrong { name: setting.name, value, place, problem, right }
}

/// What to say about a variable that is no setting's, if anything.
fn unknown_variable(variable: &str, value: &str) -> Option<String> {
    let from_kubernetes = variable.contains("_SERVICE_")
        || variable.contains("_PORT_")
        || (variable.ends_with("_PORT") && value.contains("://"));
    if OTHER_VARIABLES.contains(&variable) || from_kubernetes {
        return None;
    }
    let nearest = nearest(variable, SETTINGS.iter().map(|setting| setting.variable));
    Some(format!("the variable {variable} is not a setting; {}", hint(&nearest)))
}

/// What the text of a settings file gives.
pub(super) fn file(path: &Path, text: &str, told: &mut ConfigErrors) -> Layer {
    let path = Arc::new(path.to_owned());
    let place = |offset: usize| {
        let line = 1 + text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count();
        Source::File { path: Arc::clone(&path), line }
    };
    let mut layer = Layer::new();
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let place = place(error.span().map_or(0, |span| span.start));
            told.wrong.push(ConfigError::NotToml { place, why: error.message().to_owned() });
            return layer;
        }
    };
    for (key, value) in &table {
        let setting = SETTINGS.iter().find(|setting| setting.name == key.get_ref());
        if let Some(setting) = setting.filter(|setting| setting.shape == Shape::Entries) {
            let source = place(key.span().start);
            let text = tables::read(setting, value, &place, told);
            layer.extend(text.map(|text| (setting.name, Given { text, source })));
            continue;
        }
        match key_and_value(key.get_ref(), value, place(key.span().start)) {
            Ok((name, given)) => drop(layer.insert(name, given)),
            Err(error) => told.wrong.push(error),
        }
    }
    layer
}

fn key_and_value(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    place: Source,
) -> Result<(&'static str, Given), ConfigError> {
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == key) else {
        let nearest = nearest(key, SETTINGS.iter().map(|setting| setting.name));
        return Err(ConfigError::UnknownKey { key: key.to_owned(), place, nearest });
    };
    match toml_text(setting, value.get_ref()) {
        Ok(text) => Ok((setting.name, Given { text, source: place })),
        Err((value, problem)) => Err(ConfigError::Wrong {
            name: setting.name,
            value,
            place,
            problem: problem.to_owned(),
            right: setting.right(),
        }),
    }
}

/// A TOML value as the text that a flag would have given, or the value and what is wrong with it.
fn toml_text(setting: &Setting, value: &DeValue<'_>) -> Result<String, (String, &'static str)> {
    match value {
        DeValue::Array(entries) if setting.shape == Shape::List => {
            let texts = entries.iter().map(|entry| scalar_text(entry.get_ref()));
            texts.collect::<Result<Vec<_>, _>>().map(|texts| texts.join(","))
        }
        _ => scalar_text(value),
    }
}

/// One value as text, or what it is instead and what is wrong with that.
pub(super) fn scalar_text(value: &DeValue<'_>) -> Result<String, (String, &'static str)> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Datetime(date) => Ok(date.to_string()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Ok(number.as_str().to_owned()),
        },
        DeValue::Array(_) => Err(("[…]".to_owned(), "is a list")),
        DeValue::Table(_) => Err(("{…}".to_owned(), "is a table")),
    }
}

/// The known name that was probably meant: with at most one letter in four wrong.
pub(super) fn nearest(
    name: &str,
    known: impl Iterator<Item = &'static str>,
) -> Option<&'static str> {
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    known
        .map(|known| (distance(known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.trim_start_matches(PREFIX).len() / 4)
        .map(|(_, known)| known)
}

const PREFIX: &str = "STENTOR_";

/// Names the settings file.
pub const CONFIG_VARIABLE: &str = "STENTOR_CONFIG";
/// Names the server to `stentor subscribe`.
pub const URL_VARIABLE: &str = "STENTOR_URL";
/// Names the control listener to `stentor publish`.
pub const CONTROL_URL_VARIABLE: &str = "STENTOR_CONTROL_URL";

/// Holds the key that `stentor publish` and its like show; of the server it is the key itself.
pub const API_KEY_VARIABLE: &str = "STENTOR_API_KEY";
/// Holds the token that `stentor subscribe` shows.
pub const TOKEN_VARIABLE: &str = "STENTOR_TOKEN";
const OTHER_VARIABLES: [&str; 4] =
    [CONFIG_VARIABLE, URL_VARIABLE, CONTROL_URL_VARIABLE, TOKEN_VARIABLE];

#[cfg(test)]
mod tests {
    use super::*;

    /// The setting that was probably meant is suggested; for a word that is far from all, none.
    #[test]
    fn the_nearest_name_is_suggested() {
        let names = || SETTINGS.iter().map(|setting| setting.name);
        for (written, meant) in [
            ("ping-intervall", Some("ping-interval")),
            ("ping_interval", Some("ping-interval")),
            ("max_conections", Some("max-connections")),
            ("lisen", Some("listen")),
            ("lgo", Some("log")),
            ("tls-certificate", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, names()), meant, "{written}");
        }
    }

    /// Only variables that are neither ours nor Kubernetes' are warned about.
    #[test]
    fn an_unknown_variable_is_warned_about() {
        let warning = |variable| unknown_variable(variable, "tcp://10.0.0.7:8080");
        assert_eq!(
            warning("STENTOR_PING_INTERVALL").unwrap(),
            "the variable STENTOR_PING_INTERVALL is not a setting; \
             did you mean 'STENTOR_PING_INTERVAL'?",
        );
        for quiet in [
            "STENTOR_URL",
            "STENTOR_CONFIG",
            "STENTOR_CONTROL_URL",
            "STENTOR_SERVICE_HOST",
            "STENTOR_CONTROL_PORT_8081_TCP_ADDR",
            "STENTOR_PORT",
        ] {
            assert_eq!(warning(quiet), None, "{quiet}");
        }
        for far in ["STENTOR_WHATEVER", "STENTOR_PING"] {
            assert!(warning(far).unwrap().contains("--reference"), "{far}");
        }
        assert!(unknown_variable("STENTOR_PORT", "8080").is_some(), "somebody's guess");
    }
}
