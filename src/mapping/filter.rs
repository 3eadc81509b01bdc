//! What must hold of a record: `{json:/type}=trade`.

use super::{Fields, Template, Wrong};
use crate::policy::Pattern;

/// A template and what must come out of it: `{header:kind}=price*`, or with `!=` what must not. A
/// record that lacks what the template wants is as if nothing came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    template: Template,
    pattern: Pattern,
    is_negated: bool,
}

impl Condition {
    /// Reads a condition, or says what is wrong with it.
    pub fn new(text: &str, fields: &[&str]) -> Result<Self, Wrong> {
        Wrong::if_too_long(text)?;
        let end = text.rfind('}').map_or(0, |end| end + 1);
        let at = end
            + text[end..].find('=').ok_or_else(|| {
                Wrong::new(
                    "has no = behind its template",
                    "write a condition like {json:/type}=trade",
                )
            })?;
        let (left, pattern) = (&text[..at], &text[at + 1..]);
        let (left, is_negated) = match left.strip_suffix('!') {
            Some(left) => (left, true),
            None => (left, false),
        };
        let template = Template::new(left, fields)?;
        Ok(Condition { template, pattern: Pattern::new(pattern), is_negated })
    }

    /// What must come out as it says.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Whether it holds of a record.
    pub fn holds(&self, record: &impl Fields, payload: &[u8]) -> bool {
        let mut out = Vec::new();
        let filled = self.template.fill(record, payload, &mut out);
        let text = String::from_utf8_lossy(if filled.is_ok() { &out } else { b"" });
        self.pattern.matches(&text) != self.is_negated
    }
}
