//! The parameters of a request, each of which must be known and given once.

use axum::http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;

use crate::control::reply::Refusal;

/// The parameters that are not taken yet.
pub(super) struct Query<'a> {
    given: Vec<(&'a str, String)>,
}

impl<'a> Query<'a> {
    /// Splits and decodes them; all must be among the known.
    pub(super) fn of(uri: &'a Uri, known: &[&str]) -> Result<Self, Refusal> {
        check_known(uri, known)?;
        let mut given: Vec<(&str, String)> = Vec::new();
        let parameters = uri.query().unwrap_or("").split('&').filter(|text| !text.is_empty());
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            if given.iter().any(|(other, _)| *other == name) {
                return Err(bad(format!("{name} is given twice; give it once")));
            }
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| bad(format!("{name} is not UTF-8")))?;
            given.push((name, value.into_owned()));
        }
        Ok(Query { given })
    }

    /// What a parameter says, if it is given. `right` says what to write instead of what cannot be read.
    pub(super) fn read<T>(
        &self,
        name: &str,
        right: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let Some((_, text)) = self.given.iter().find(|(known, _)| *known == name) else {
            return Ok(None);
        };
        let refused = || bad(format!("{name}: '{text}' is not {right}"));
        parse(text).map(Some).ok_or_else(refused)
    }
}

/// Refuses parameters that are not among the known: one that was misspelt, and passed over, would be
/// answered with what was not asked for.
pub(in super::super) fn check_known(uri: &Uri, known: &[&str]) -> Result<(), Refusal> {
    let parameters = uri.query().unwrap_or("").split('&').filter(|text| !text.is_empty());
    let mut names = parameters.map(|it| it.split_once('=').map_or(it, |(name, _)| name));
    let Some(name) = names.find(|name| !known.contains(name)) else { return Ok(()) };
    let known = if known.is_empty() { "none".into() } else { known.join(", ") };
    Err(bad(format!("'{name}' is no parameter here; there are: {known}")))
}

/// 400.
pub(super) fn bad(reason: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, reason)
}
