//! The files that say who may do what, read at the start and whenever they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    access::{Access, ApiKeys, Expected, Keys, NotAKey, NotAnApiKey},
    config::{Config, KeyFile},
    live::Live,
    watch::Files,
};

/// Why the keys cannot be used. Its text names the setting and the file.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("cannot read {path} ({setting}): {error}", path = path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file holds no keys for tokens.
    #[error("{path} ({setting}) {problem}", path = path.display())]
    Keys {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: NotAKey,
    },
    /// A file holds no keys of the API.
    #[error("{path} (api-key-file): {problem}", path = path.display())]
    ApiKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: NotAnApiKey,
    },
}

/// What decides who may do what, and the files that it follows.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// The settings that hold now.
    config: Arc<Live<Config>>,
    access: Arc<Access>,
}

impl KeyFiles {
    /// Reads them for the first time.
    pub fn open(config: &Config) -> Result<Self, AccessError> {
        let (keys, expected, api_keys) = read(config)?;
        let access = Arc::new(Access::new(keys, expected, api_keys));
        Ok(KeyFiles { config: Live::new(config.clone()), access })
    }

    /// What was made of them.
    pub fn access(&self) -> &Arc<Access> {
        &self.access
    }

    /// The files, for whoever watches them.
    pub fn paths(&self) -> Vec<PathBuf> {
        let config = self.config.get();
        let files = [&config.token_key, &config.token_jwks, &config.api_key_file];
        files.into_iter().filter_map(|file| file.0.clone()).collect()
    }

    /// Reads them again. Who is connected stays, and if something is wrong, so do the keys.
    pub fn reload(&self) -> Result<(), AccessError> {
        self.reload_as(&self.config.get())
    }

    /// Has the files read again when they change.
    pub fn watch_by(&self, files: &Files) {
        let (paths, mine) = (self.paths(), self.clone());
        if !paths.is_empty() {
            let count = paths.len();
            let read = move || match mine.reload() {
                Ok(()) if count == 1 => Ok("the keys of 1 file hold".to_owned()),
                Ok(()) => Ok(format!("the keys of {count} files hold")),
                Err(problem) => Err(problem.to_string()),
            };
            files.watch("keys", paths, Box::new(read));
        }
    }

    /// The same, as other settings say, which hold from now on.
    pub fn reload_as(&self, config: &Config) -> Result<(), AccessError> {
        let (keys, expected, api_keys) = read(config)?;
        self.access.replace(keys, expected, api_keys);
        self.config.replace(config.clone());
        Ok(())
    }
}

fn read(config: &Config) -> Result<(Keys, Expected, ApiKeys), AccessError> {
    let key = keys("token-key", &config.token_key, Keys::from_key_file)?;
    let jwks = keys("token-jwks", &config.token_jwks, Keys::from_jwks)?;
    let expected = Expected {
        issuer: config.token_issuer.0.clone(),
        audience: config.token_audience.0.clone(),
    };
    Ok((key.and(jwks), expected, api_keys(config)?))
}

fn keys(
    setting: &'static str,
    file: &KeyFile,
    parse: fn(&[u8]) -> Result<Keys, NotAKey>,
) -> Result<Keys, AccessError> {
    let Some(path) = &file.0 else { return Ok(Keys::default()) };
    let bytes = read_file(setting, path)?;
    parse(&bytes).map_err(|problem| AccessError::Keys { setting, path: path.clone(), problem })
}

fn api_keys(config: &Config) -> Result<ApiKeys, AccessError> {
    let mut text = String::new();
    if let Some(path) = &config.api_key_file.0 {
        text = String::from_utf8_lossy(&read_file("api-key-file", path)?).into_owned();
    }
    // Last, so that the numbers of lines are those of the file.
    let text = text + "\n" + &config.api_key.line().unwrap_or_default();
    ApiKeys::parse(&text).map_err(|problem| AccessError::ApiKeys {
        path: config.api_key_file.0.clone().unwrap_or_default(),
        problem,
    })
}

fn read_file(setting: &'static str, path: &Path) -> Result<Vec<u8>, AccessError> {
    let unreadable = |error| AccessError::Unreadable { setting, path: path.to_owned(), error };
    fs::read(path).map_err(unreadable)
}
