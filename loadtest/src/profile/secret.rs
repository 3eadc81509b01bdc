//! Tokens and keys: from a flag or from a file, and never in an error.

use std::{borrow::Cow, fs, path::Path};

use super::ProfileError;
use crate::order::Secret;

/// How the command line gives a secret.
#[derive(Clone, Debug)]
pub enum Given<'a> {
    /// Itself.
    Text(&'a Secret),
    /// A file with one on each line.
    File(&'a Path),
}

/// The secrets that an option gives: at least one.
pub fn read(option: &'static str, given: &Given<'_>) -> Result<Vec<Secret>, ProfileError> {
    let (value, right) = match given {
        Given::Text(_) => (HIDDEN.to_owned(), AS_ISSUED),
        Given::File(file) => (file.display().to_string(), "write a file with one on each line"),
    };
    let wrong = |problem: String, right: &str| {
        let (value, right) = (value.clone(), right.to_owned());
        ProfileError::Wrong { option, value, problem, right }
    };
    let text = text(given).map_err(|problem| wrong(problem, right))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Vec<Secret> = lines.map(|line| Secret(line.to_owned())).collect();
    let is_plain = |secret: &Secret| secret.0.bytes().all(|byte| byte.is_ascii_graphic());
    match secrets.iter().position(|secret| !is_plain(secret)) {
        Some(at) => {
            let problem = format!("has a letter in number {} that a header cannot carry", at + 1);
            Err(wrong(problem, AS_ISSUED))
        }
        None if secrets.is_empty() => Err(wrong("is empty".to_owned(), right)),
        None => Ok(secrets),
    }
}

/// The one secret that an option gives.
pub fn read_one(option: &'static str, given: &Given<'_>) -> Result<Secret, ProfileError> {
    let one = <[Secret; 1]>::try_from(read(option, given)?);
    one.map(|[secret]| secret).map_err(|secrets| ProfileError::Wrong {
        option,
        value: HIDDEN.to_owned(),
        problem: format!("has {} lines", secrets.len()),
        right: "write the key and nothing else".to_owned(),
    })
}

/// What is given, or what is wrong with it.
fn text<'a>(given: &Given<'a>) -> Result<Cow<'a, str>, String> {
    let file = match given {
        Given::Text(secret) => return Ok(Cow::Borrowed(&secret.0)),
        Given::File(file) => file,
    };
    let bytes = fs::read(file).map_err(|why| format!("cannot be read: {why}"))?;
    match bytes.len() > SECRETS_BYTES_MAX {
        true => Err(format!("has {} bytes, more than {SECRETS_BYTES_MAX}", bytes.len())),
        false => Ok(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())),
    }
}

/// A file of secrets is no longer: it fits a line to an agent, once for each transport.
pub const SECRETS_BYTES_MAX: usize = 4 << 20;

const HIDDEN: &str = "…";
const AS_ISSUED: &str = "write it as it was issued";
