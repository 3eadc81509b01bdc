//! Inputs from message buses, as text.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

use super::{table::Shape, values::Value};
use crate::inputs::Input;

/// Inputs, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    text: String,
    all: Vec<Input>,
}

impl Inputs {
    /// All of them.
    pub fn all(&self) -> &[Input] {
        &self.all
    }
}

impl PartialOrd for Inputs {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.text.partial_cmp(&other.text)
    }
}

impl Value for Inputs {
    const NOUN: &'static str = "INPUTS";
    const KIND: &'static str = "inputs with what they read";
    const LIKE: &'static str =
        "like nats url=nats://127.0.0.1:4222 subject=ticks.> channel={subject}";
    const SHAPE: Shape = Shape::Entries;

    fn parse(_text: &str) -> Result<Self, String> {
        Ok(Inputs::default())
    }

    fn text(&self) -> String {
        self.text.clone()
    }
}

impl Value for String {
    const NOUN: &'static str = "NAME";
    const KIND: &'static str = "a name";
    const LIKE: &'static str = "";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn text(&self) -> String {
        self.clone()
    }
}
