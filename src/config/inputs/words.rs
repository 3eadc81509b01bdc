//! The words of inputs as text: `nats url=nats://host subject="a b"; lines from=stdin`, how secrets in
//! them are hidden, and how they come from elsewhere.
#![forbid(unsafe_code)]

use std::{fs::File, io::Read};

use super::super::channels::{Fault, Refused};

/// A word: `name=value`, or one that stands alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub name: String,
    pub value: Option<String>,
}

/// The entries of a text, each with its words. A semicolon that is not in quotes ends an entry.
pub fn entries(text: &str) -> Result<Vec<Vec<Word>>, Fault> {
    let (mut all, mut words, mut rest) = (Vec::new(), Vec::new(), text);
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(';') {
            all.push(std::mem::take(&mut words));
            rest = behind;
        } else if rest.is_empty() {
            all.push(words);
            all.retain(|words| !words.is_empty());
            return Ok(all);
        } else {
            let (word, behind) = word(rest)?;
            words.push(word);
            rest = behind;
        }
    }
}

/// The first word of a text that begins with one, and what is behind it.
fn word(text: &str) -> Result<(Word, &str), Fault> {
    let end = |text: &str| text.find(is_end).unwrap_or(text.len());
    let (plain, behind) = text.split_at(end(text));
    let Some((name, value)) = plain.split_once('=') else {
        return Ok((Word { name: plain.to_owned(), value: None }, behind));
    };
    let (name, is_quoted) = (name.to_owned(), value.starts_with('"'));
    if !is_quoted {
        return Ok((Word { name, value: Some(value.to_owned()) }, behind));
    }
    let (value, behind) = quoted(&name, &text[name.len() + 2..])?;
    Ok((Word { name, value: Some(value) }, behind))
}

/// What is in quotes, of which the first is gone, and what is behind them.
fn quoted<'a>(name: &str, text: &'a str) -> Result<(String, &'a str), Fault> {
    let fault = |problem: &str, right: &str| Fault {
        problem: format!("has {name}=\"…, {problem}"),
        right: right.to_owned(),
    };
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' if text[at + 1..].chars().next().is_none_or(is_end) => {
                return Ok((value, &text[at + 1..]));
            }
            '"' => {
                let right = "write a space behind the quotes, and \\\" for quotes inside of them";
                return Err(fault("with something right behind its closing quotes", right));
            }
            '\\' => match letters.next() {
                Some((_, letter @ ('"' | '\\'))) => value.push(letter),
                _ => {
                    let right = "write \\\\ for a backslash in quotes, and \\\" for quotes";
                    return Err(fault("with a single \\ in its quotes", right));
                }
            },
            letter => value.push(letter),
        }
    }
    Err(fault("whose quotes are not closed", "write a \" behind the value"))
}

fn is_end(letter: char) -> bool {
    letter.is_whitespace() || letter == ';'
}

/// A value as it must be written.
pub fn written(value: &str) -> String {
    if !value.is_empty() && !value.starts_with('"') && !value.contains(is_end) {
        return value.to_owned();
    }
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A value as it may be shown.
pub fn masked(name: &str, value: &str) -> String {
    match (name, value.split_once('=')) {
        ("url" | "brokers", _) => masked_url(value),
        ("property", Some((property, secret))) if is_secret(property) && !is_elsewhere(secret) => {
            format!("{property}={MASK}")
        }
        _ => value.to_owned(),
    }
}

/// A text as it may be shown, whatever is wrong with it.
pub fn masked_text(text: &str) -> String {
    let Ok(entries) = entries(text) else { return masked_url(text) };
    let word = |word: &Word| match &word.value {
        Some(value) => format!("{}={}", word.name, written(&masked(&word.name, value))),
        None => masked_url(&word.name),
    };
    let entry = |words: &Vec<Word>| words.iter().map(word).collect::<Vec<_>>().join(" ");
    entries.iter().map(entry).collect::<Vec<_>>().join("; ")
}

fn is_secret(property: &str) -> bool {
    ["password", "secret", ".pem", "oauthbearer.config"].iter().any(|word| property.contains(word))
}

/// Whether the text is nothing but a reference to where the secret stands.
fn is_elsewhere(text: &str) -> bool {
    text.strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|name| !name.contains(['$', '{', '}']))
}

/// URLs, perhaps several with commas between them, without what is before their `@`.
fn masked_url(text: &str) -> String {
    let Some(at) = text.rfind("://") else { return masked_authority("", text) };
    let scheme = text[..at].rfind(|letter: char| !is_of_scheme(letter)).map_or(0, |end| end + 1);
    let (before, last) = text.split_at(scheme);
    let (scheme, rest) = last.split_at(at - scheme + 3);
    let before = if before.contains("://") { masked_url(before) } else { before.to_owned() };
    format!("{before}{scheme}{}", masked_authority(scheme, rest))
}

fn is_of_scheme(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '+'
}

fn masked_authority(scheme: &str, text: &str) -> String {
    if let Some((user, host)) = text.rsplit_once('@') {
        return match user.split_once(':') {
            Some((_, secret)) if is_elsewhere(secret) => text.to_owned(),
            Some((user, _)) => format!("{user}:{MASK}@{host}"),
            // With NATS a word before the @ is a token.
            None if is_elsewhere(user) || ["redis://", "amqp://", "mqtt://"].contains(&scheme) => {
                text.to_owned()
            }
            None => format!("{MASK}@{host}"),
        };
    }
    // Somebody forgot the host: what stands for the port is a password.
    let is_port = |port: &str| {
        let port = port.trim_end_matches(',').split(['/', '?']).next().unwrap_or("");
        is_elsewhere(port) || port.bytes().all(|byte| byte.is_ascii_digit() || byte == b']')
    };
    match text.rsplit_once(':') {
        Some((host, port)) if !scheme.is_empty() && !is_port(port) && !host.contains('/') => {
            format!("{host}:{MASK}")
        }
        _ => text.to_owned(),
    }
}

/// A value with `${VARIABLE}` and `${file:/path}` replaced.
pub fn expanded(value: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Refused> {
    let (mut text, mut rest) = (String::new(), value);
    while let Some((before, behind)) = rest.split_once("${") {
        text.push_str(before);
        let Some((name, behind)) = behind.split_once('}') else {
            let right = "write ${VARIABLE} or ${file:/path}";
            return Err(("has a ${ without its }".into(), right.into()));
        };
        let found = match name.strip_prefix("file:") {
            Some(path) => secret_file(path)?,
            None => variable(name).ok_or_else(|| {
                let problem = format!("wants the variable {name}, which is not set");
                (problem, format!("set {name} in the environment of the server"))
            })?,
        };
        text.push_str(&found);
        rest = behind;
    }
    Ok(text + rest)
}

/// What a file holds, without the line's end.
fn secret_file(path: &str) -> Result<String, Refused> {
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(SECRET_MAX + 1).read_to_string(&mut text));
    match read {
        Ok(len) if len as u64 > SECRET_MAX => {
            let problem = format!("wants the file {path}, which has more than {SECRET_MAX} bytes");
            Err((problem, "let it hold nothing but what is to stand here".into()))
        }
        Ok(_) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
        Err(why) => {
            let problem = format!("wants the file {path}, which cannot be read: {why}");
            Err((problem, "name a file that the server may read".into()))
        }
    }
}

const MASK: &str = "***";
/// Bytes in a file that holds a secret.
const SECRET_MAX: u64 = 16 * 1024;
