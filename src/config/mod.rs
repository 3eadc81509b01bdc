//! What an operator may decide: settings from flags, the environment, a TOML file or defaults,
//! read into a [`Config`] that cannot be wrong.
//!
//! Each setting has one definition, a row in `settings.rs`. The precedence is flag, environment,
//! file, default. Everything wrong is told at once, each with where it came from and what would be
//! right. What only the machine can refuse (an address in use, more connections than the kernel
//! can hold) is left to start-up and to `doctor`.
#![forbid(unsafe_code)]

mod access;
mod addresses;
mod channels;
mod check;
mod error;
mod inputs;
mod origins;
mod proxies;
mod reload;
mod settings;
mod show;
mod sources;
mod spans;
mod table;
mod tables;
mod values;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs,
    ops::Deref,
    path::{Path, PathBuf},
};

pub use access::{ApiKey, Claim, KeyFile};
pub use addresses::{Addresses, Place, SocketPath};
pub use channels::Channels;
pub use error::{ConfigError, ConfigErrors};
pub use inputs::{InputFlag, Inputs as BusInputs, input_flags};
pub use proxies::ClientHeader;
pub use reload::Difference;
pub use settings::{SETTINGS, Settings};
pub use show::reference;
pub use sources::{
    API_KEY_VARIABLE, CONFIG_VARIABLE, CONTROL_URL_VARIABLE, Source, TOKEN_VARIABLE, URL_VARIABLE,
};
pub use table::{Setting, Shape};
use values::Value as _;
pub use values::{
    Auto, Directory, IoChoice, LogFilter, LogFormat, Names, Paths, PublishTo, Size, duration,
};

use check::{Clash, clashes};
use error::from;
use sources::{Given, Layer};

/// Settings that fit their ranges and each other. Read them as fields: `config.listen`.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    /// In the order of [`SETTINGS`].
    sources: Vec<Source>,
}

impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

impl Default for Config {
    fn default() -> Self {
        Config::with(&[]).expect("the defaults fit their ranges and each other")
    }
}

/// Where to look for values.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Names of settings and what the command line says of them, in its order.
    pub flags: Vec<(&'static str, String)>,
    /// Names of [`input_flags`] and what the command line says of them: one input.
    pub input: Vec<(&'static str, String)>,
    /// The settings file that the command line names. Without one, `STENTOR_CONFIG` may name it.
    pub file: Option<PathBuf>,
    /// Every environment variable; those that are not ours are passed over.
    pub environment: Vec<(OsString, OsString)>,
}

/// What [`Config::load`] found.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// What looks like a mistake and does not keep the server from starting.
    pub warnings: Vec<String>,
}

/// The headings that limits stand under.
const LIMIT_GROUPS: [&str; 2] = ["Limits", "Under attack"];

/// A setting that bounds how much there may be of something.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The setting.
    pub setting: &'static Setting,
    /// What it is, as an operator would write it.
    pub value: String,
    /// The same as a number, in bytes where it is a size; `None` where it is neither.
    pub max: Option<u64>,
}

impl Config {
    /// The settings that bound something.
    pub fn limits(&self) -> impl Iterator<Item = Limit> {
        let all = SETTINGS.iter().zip(self.settings.shown());
        let limits = all.filter(|(setting, _)| LIMIT_GROUPS.contains(&setting.group));
        limits.map(|(setting, texts)| {
            let value = texts.join(setting.shape.separator());
            let size = || Size::parse(&value).ok().map(|size| size.0);
            Limit { setting, max: value.parse().ok().or_else(size), value }
        })
    }

    /// Reads the settings file, if one is named, and makes a configuration of all that was given.
    pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigErrors> {
        let mut told = ConfigErrors::default();
        let mut flags = sources::flags(&inputs.flags);
        sources::input_of_flags(&inputs.input, &mut flags, &mut told);
        let environment = sources::environment(&inputs.environment, &mut told);
        let file = settings_file(inputs).map(|path| read_file(&path, &mut told));
        let variable = |wanted: &str| {
            let found = inputs.environment.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| value.to_str()).map(str::to_owned)
        };
        Config::from_layers(&[flags, environment, file.unwrap_or_default()], &variable, told)
    }

    /// The defaults, but for these settings; for tests and for programs that embed the server. The
    /// environment is not looked at.
    ///
    /// # Panics
    ///
    /// If a name is not that of a setting.
    pub fn with(pairs: &[(&str, &str)]) -> Result<Self, ConfigErrors> {
        let known = |wanted: &str| SETTINGS.iter().find(|setting| setting.name == wanted);
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, text)| (known(name).expect("a setting").name, (*text).to_owned()))
            .collect();
        let layers = [sources::flags(&pairs)];
        Config::from_layers(&layers, &|_| None, ConfigErrors::default()).map(|loaded| loaded.config)
    }

    /// Values that do not fit together are told only where each is right by itself.
    fn from_layers(
        layers: &[Layer],
        variable: &dyn Fn(&str) -> Option<String>,
        mut told: ConfigErrors,
    ) -> Result<Loaded, ConfigErrors> {
        let given = first_given(layers);
        let mut settings = match Settings::read(&given) {
            Ok(settings) if told.wrong.is_empty() => settings,
            Ok(_) => return Err(told),
            Err(wrong) => {
                told.wrong.extend(wrong);
                return Err(told);
            }
        };
        told.wrong = clashes(&settings).iter().map(|clash| refused(clash, &given)).collect();
        settle_inputs(&mut settings, variable, &given, &mut told);
        if !told.wrong.is_empty() {
            return Err(told);
        }
        let sources = given.into_iter().map(|given| given.source).collect();
        Ok(Loaded { config: Config { settings, sources }, warnings: told.warnings })
    }
}

/// Decides what of the inputs rests on each other, on other settings and on the environment.
fn settle_inputs(
    settings: &mut Settings,
    variable: &dyn Fn(&str) -> Option<String>,
    given: &[Given],
    told: &mut ConfigErrors,
) {
    let mut refuse = |name: &'static str, trouble: inputs::Trouble| {
        let (setting, Given { text, source }) = given_for(name, given);
        let (value, place) = (settings::shown(setting, text), source.clone());
        let inputs::Trouble { problem, right } = trouble;
        told.wrong.push(ConfigError::Wrong { name, value, place, problem, right });
    };
    if let Some(wanted) = &settings.publish_to.0 {
        match settings.inputs.publishable(wanted) {
            Ok(name) => settings.publish_to = PublishTo(Some(name)),
            Err(trouble) => refuse("publish-to", trouble),
        }
    }
    match std::mem::take(&mut settings.inputs).settled(&settings.channels, variable) {
        Ok((inputs, warnings)) => {
            settings.inputs = inputs;
            told.warnings.extend(warnings);
        }
        Err(troubles) => troubles.into_iter().for_each(|trouble| refuse("inputs", trouble)),
    }
}

fn given_for<'a>(name: &str, given: &'a [Given]) -> (&'static Setting, &'a Given) {
    let at = SETTINGS.iter().position(|setting| setting.name == name).expect("a setting");
    (&SETTINGS[at], &given[at])
}

/// A value for every setting, in the order of [`SETTINGS`], from the first layer that names it.
fn first_given(layers: &[Layer]) -> Vec<Given> {
    let given = |setting: &Setting| {
        let found = layers.iter().find_map(|layer| layer.get(setting.name)).cloned();
        let (text, source) = (setting.default.to_owned(), Source::Default);
        found.unwrap_or(Given { text, source })
    };
    SETTINGS.iter().map(given).collect()
}

fn settings_file(inputs: &Inputs) -> Option<PathBuf> {
    let variable = || {
        let named = inputs.environment.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        named.map(|(_, path)| PathBuf::from(path))
    };
    inputs.file.clone().or_else(variable)
}

fn read_file(path: &Path, told: &mut ConfigErrors) -> Layer {
    match fs::read_to_string(path) {
        Ok(text) => sources::file(path, &text, told),
        Err(why) => {
            told.wrong.push(ConfigError::Unreadable { path: path.to_owned(), why });
            Layer::new()
        }
    }
}

/// A clash, with what was given for its two settings.
fn refused(clash: &Clash, given: &[Given]) -> ConfigError {
    let (setting, Given { text, source }) = given_for(clash.name, given);
    let other = clash.other.map(|other| {
        let (_, given) = given_for(other, given);
        format!(" {other} '{}' ({})", given.text, from(&given.source))
    });
    ConfigError::Wrong {
        name: clash.name,
        value: settings::shown(setting, text),
        place: source.clone(),
        problem: format!("{}{}", clash.relation, other.unwrap_or_default()),
        right: clash.right.to_owned(),
    }
}
