//! What Stentor says in JSON: answers to long-polls, messages of `stentor.v1`, notices of gaps.
//!
//! Unknown fields are skipped, since a server may say more than we need; missing ones and wrong
//! shapes are faults. Positions are texts without escapes, and told as slices of what came.

use std::{borrow::Cow, str};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Begun, Fault, Message, Told};

/// The answer to a long-poll. The first of a connection grants the subscription.
pub(super) fn tell_answer(body: &[u8], is_first: bool, told: &mut Told<'_>) -> Result<(), Fault> {
    let answer: Answer<'_> = read(body)?;
    let position = Some(answer.position);
    if answer.recovered == answer.gap.is_some() {
        return Err(malformed("\"recovered\" is false if and only if there is a \"gap\""));
    }
    if is_first {
        told(Message::Established(Begun { position, recovered: Some(answer.recovered) }));
    }
    if let Some(Gap { from, to }) = answer.gap {
        told(Message::Gap { from, to });
    }
    for publication in &answer.publications {
        publication.tell(told)?;
    }
    told(Message::Answered { position });
    Ok(())
}

/// A message of `stentor.v1`. The reply to our subscribing grants the subscription.
pub(super) fn tell_said(text: &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
    let Kind { kind } = read(text)?;
    match kind.as_deref() {
        None => read::<Publication<'_>>(text)?.tell(told),
        Some("subscribed") => {
            let Subscribed { position, recovered, gap } = read(text)?;
            told(Message::Established(Begun { position: Some(position), recovered }));
            if let Some(Gap { from, to }) = gap {
                told(Message::Gap { from, to });
            }
            Ok(())
        }
        Some("gap") => tell_gap(text, told),
        Some("error") => {
            let Error { code, message } = read(text)?;
            Err(Fault::CommandRefused { code: shown(&code), message: shown(&message) })
        }
        Some(other) => Err(malformed(format!("nothing was asked that {other:?} would answer"))),
    }
}

/// A notice that something will not come.
pub(super) fn tell_gap(text: &[u8], told: &mut Told<'_>) -> Result<(), Fault> {
    let Gap { from, to } = read(text)?;
    told(Message::Gap { from, to });
    Ok(())
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    position: &'a str,
    recovered: bool,
    #[serde(borrow)]
    gap: Option<Gap<'a>>,
    #[serde(borrow)]
    publications: Vec<Publication<'a>>,
}

#[derive(Deserialize)]
struct Subscribed<'a> {
    position: &'a str,
    recovered: Option<bool>,
    #[serde(borrow)]
    gap: Option<Gap<'a>>,
}

#[derive(Deserialize)]
struct Gap<'a> {
    from: &'a str,
    to: &'a str,
}

#[derive(Deserialize)]
struct Error<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Publication<'a> {
    id: &'a str,
    encoding: Option<&'a str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Publication<'_> {
    fn tell(&self, told: &mut Told<'_>) -> Result<(), Fault> {
        let (id, raw) = (Some(self.id), self.data.get());
        if !raw.starts_with('"') {
            // Data that is JSON itself; whether it is ours is not for us to say.
            told(Message::Publication { payload: raw.as_bytes(), id });
            return Ok(());
        }
        let Text(text) = read(raw.as_bytes())?;
        match self.encoding {
            None => told(Message::Publication { payload: text.as_bytes(), id }),
            Some("base64") => {
                let payload = BASE64_STANDARD.decode(text.as_bytes());
                let payload = payload.map_err(|error| malformed(format!("\"data\": {error}")))?;
                told(Message::Publication { payload: &payload, id });
            }
            Some(other) => return Err(malformed(format!("\"encoding\" is {other:?}"))),
        }
        Ok(())
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))
}

fn malformed(why: impl AsRef<str>) -> Fault {
    Fault::MalformedObject(shown(why.as_ref()))
}

/// What a server said, as the start of a line that is safe to show.
fn shown(text: &str) -> String {
    super::head::one_line(text)
}

#[cfg(test)]
mod tests;
