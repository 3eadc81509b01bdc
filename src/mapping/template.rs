//! Texts with places that are filled from a record: `ticks.{subject}`.

use std::{borrow::Cow, fmt};

use super::{Fields, Pointer, Unmapped, Wrong};
use crate::policy::Pattern;

/// A text with places: `{name}` for what the bus has, `{header:name}`, and `{json:/pointer}` for a
/// part of the payload. `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Box<str>),
    Field(Box<str>),
    Header(Box<str>),
    Json(Pointer),
}

impl Template {
    /// Reads a template whose fields are among `fields`, or says what is wrong with it.
    pub fn new(text: &str, fields: &[&str]) -> Result<Self, Wrong> {
        Wrong::if_too_long(text)?;
        let (mut parts, mut rest) = (Vec::new(), text);
        let mut literal = String::new();
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            if rest[at + 1..].starts_with(brace) {
                literal.push_str(brace);
                rest = &rest[at + 2..];
                continue;
            }
            let inside = rest[at + 1..].split_once('}').filter(|_| brace == "{");
            let Some((inside, after)) = inside else {
                let problem = format!("has a '{brace}' without its other half");
                return Err(Wrong::new(problem, "write {{ or }} for a brace"));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(Part::read(inside, fields)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Template { text: text.into(), parts })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this field of the bus stands in it.
    pub fn has(&self, field: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(name) if **name == *field))
    }

    /// What stands in it between its places.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(&**text),
            _ => None,
        })
    }

    /// Whether it wants a header.
    pub fn wants_header(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Header(_)))
    }

    /// Whether it wants a part of the payload.
    pub fn wants_payload(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Json(_)))
    }

    /// What comes out for a record: as the record has it where the template is one field, and
    /// otherwise put together in `room`, which is empty.
    pub fn filled<'a>(
        &self,
        record: &'a impl Fields,
        payload: &[u8],
        room: &'a mut Vec<u8>,
    ) -> Result<Cow<'a, [u8]>, Unmapped> {
        if let [part @ Part::Field(name)] = &self.parts[..] {
            return record.field(name).ok_or_else(|| part.missing());
        }
        self.fill(record, payload, room)?;
        Ok(Cow::Borrowed(room))
    }

    /// Appends what comes out for a record.
    pub fn fill(
        &self,
        record: &impl Fields,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Unmapped> {
        for part in &self.parts {
            let missing = || part.missing();
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(name) => {
                    out.extend_from_slice(&record.field(name).ok_or_else(missing)?);
                }
                Part::Header(name) => {
                    out.extend_from_slice(&record.header(name).ok_or_else(missing)?);
                }
                Part::Json(at) => {
                    out.extend_from_slice(at.text(payload).ok_or_else(missing)?.as_bytes());
                }
            }
        }
        Ok(())
    }

    /// The names that can come out, where `known` says what stands for some fields: with a `*` for
    /// each of them.
    pub fn pattern(&self, known: impl Fn(&str) -> Option<String>) -> Pattern {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.to_string(),
            Part::Field(name) => known(name).unwrap_or_else(|| "*".to_owned()),
            Part::Header(_) | Part::Json(_) => "*".to_owned(),
        });
        Pattern::new(&parts.collect::<String>())
    }
}

impl Part {
    #[cold]
    fn missing(&self) -> Unmapped {
        Unmapped::Missing(self.to_string().into())
    }

    fn read(text: &str, fields: &[&str]) -> Result<Self, Wrong> {
        match text.split_once(':') {
            Some(("header", name)) if !name.is_empty() => Ok(Part::Header(name.into())),
            Some(("json", pointer)) => Pointer::new(pointer).map(Part::Json),
            _ if fields.contains(&text) => Ok(Part::Field(text.into())),
            _ => {
                let known = fields.iter().map(|field| format!("{{{field}}}, ")).collect::<String>();
                Err(Wrong::new(
                    format!("wants {{{text}}}, and no record has it"),
                    format!("there are {known}{{header:NAME}} and {{json:/POINTER}}"),
                ))
            }
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Text(text) => f.write_str(text),
            Part::Field(name) => write!(f, "{{{name}}}"),
            Part::Header(name) => write!(f, "{{header:{name}}}"),
            Part::Json(pointer) => write!(f, "{{json:{}}}", pointer.as_str()),
        }
    }
}
