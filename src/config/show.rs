//! The settings as text for people: what is in effect, as TOML that can be used as it is, and the
//! reference for the manual.
#![forbid(unsafe_code)]

use std::fmt;

use super::{Config, SETTINGS, Setting, Shape};

/// The effective settings, as a TOML file with where each value came from behind it.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.settings.texts();
        let lines: Vec<String> = SETTINGS.iter().zip(&texts).map(toml_line).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let mut group = "";
        for ((setting, line), source) in SETTINGS.iter().zip(lines).zip(&self.sources) {
            if group != setting.group {
                let gap = if group.is_empty() { "" } else { "\n" };
                group = setting.group;
                writeln!(f, "{gap}# {group}")?;
            }
            writeln!(f, "{line:width$}  # {source}")?;
        }
        Ok(())
    }
}

fn toml_line((setting, text): (&Setting, &String)) -> String {
    format!("{} = {}", setting.name, toml_literal(setting.shape, text))
}

/// The text as TOML: numbers and truths bare, the rest quoted.
fn toml_literal(shape: Shape, text: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    match shape {
        Shape::List => {
            let entries = text.split(',').filter(|entry| !entry.is_empty()).map(quoted);
            format!("[{}]", entries.collect::<Vec<_>>().join(", "))
        }
        Shape::Switch => text.to_owned(),
        Shape::One if text.parse::<i64>().is_ok() => text.to_owned(),
        Shape::One => quoted(text),
    }
}

/// Every setting as Markdown tables, one for each group.
pub fn reference() -> String {
    let mut text = String::new();
    let mut group = "";
    for setting in SETTINGS {
        if group != setting.group {
            let gap = if group.is_empty() { "" } else { "\n" };
            group = setting.group;
            text += &format!("{gap}### {group}\n\n{REFERENCE_HEAD}");
        }
        text += &reference_row(setting);
    }
    text
}

fn reference_row(setting: &Setting) -> String {
    let Setting { name, variable, help, kind, .. } = setting;
    let default = match setting.default {
        "" => "none".to_owned(),
        default => format!("`{default}`"),
    };
    let range = match setting.range {
        Some((low, high)) => format!("{kind}, {low} to {high}"),
        None => (*kind).to_owned(),
    };
    format!("| `{name}` | `{variable}` | {default} | {range} | {help} |\n")
}

const REFERENCE_HEAD: &str = "\
| Flag and TOML key | Environment | Default | Value | What it does |
| --- | --- | --- | --- | --- |
";
