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
        let Some((left, pattern)) = split(text) else {
            let right = "write a condition like {json:/type}=trade";
            return Err(Wrong::new("has no = behind its template", right));
        };
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
        let mut room = Vec::new();
        let filled = self.template.filled(record, payload, &mut room);
        let text = String::from_utf8_lossy(filled.as_deref().unwrap_or_default());
        self.pattern.matches(&text) != self.is_negated
    }
}

/// The text before the first `=` that is not in braces, and the text behind it.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut is_inside = false;
    let at = text.find(|letter| {
        is_inside = match letter {
            '{' => true,
            '}' => false,
            _ => is_inside,
        };
        letter == '=' && !is_inside
    })?;
    Some((&text[..at], &text[at + 1..]))
}
