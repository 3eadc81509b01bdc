//! The settings as text for people: what is in effect, as TOML that can be used as it is, and the
//! reference for the manual.
#![forbid(unsafe_code)]

use std::fmt;

use super::{
    Config, SETTINGS, Setting, Shape,
    channels::{KEYS, Key},
    inputs,
};

/// The effective settings, as a TOML file with where each value came from behind it.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.settings.shown();
        // What has several lines has its source behind the first.
        let (lines, rest): (Vec<String>, Vec<String>) =
            SETTINGS.iter().zip(&texts).map(toml_lines).unzip();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        let mut group = "";
        for (at, (setting, source)) in SETTINGS.iter().zip(&self.sources).enumerate() {
            if group != setting.group {
                let gap = if group.is_empty() { "" } else { "\n" };
                group = setting.group;
                writeln!(f, "{gap}# {group}")?;
            }
            writeln!(f, "{:width$}  # {source}", lines[at])?;
            f.write_str(&rest[at])?;
        }
        Ok(())
    }
}

/// The first line of a setting, and the lines that follow it.
fn toml_lines((setting, texts): (&Setting, &Vec<String>)) -> (String, String) {
    let name = setting.name;
    match &texts[..] {
        [text] if setting.shape != Shape::Entries => {
            (format!("{name} = {}", toml_literal(setting.shape, text)), String::new())
        }
        [] => (format!("{name} = []"), String::new()),
        entries => {
            let entry = |entry: &String| format!("    {},\n", toml::Value::from(entry.as_str()));
            let entries: String = entries.iter().map(entry).collect();
            (format!("{name} = ["), format!("{entries}]\n"))
        }
    }
}

/// The text as TOML: numbers and truths bare, the rest quoted.
fn toml_literal(shape: Shape, text: &str) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    match shape {
        Shape::Entries => unreachable!("entries have lines of their own"),
        Shape::List => {
            let entries =
                text.split(shape.separator()).filter(|entry| !entry.is_empty()).map(quoted);
            format!("[{}]", entries.collect::<Vec<_>>().join(", "))
        }
        Shape::Switch => text.to_owned(),
        Shape::One if text.parse::<i64>().is_ok() => text.to_owned(),
        Shape::One => quoted(text),
    }
}

/// Every setting as Markdown tables, one for each group, and at last the keys of `[[channels]]`
/// and `[[inputs]]`.
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
    text += KEYS_HEAD;
    for Key { name, default, kind, help } in &KEYS {
        text += &format!("| `{name}` | {default} | {kind} | {help} |\n");
    }
    text + &inputs_reference()
}

fn inputs_reference() -> String {
    let mut text = KINDS_HEAD.to_owned();
    for kind in &inputs::KINDS {
        let fields: Vec<_> = kind.fields.iter().map(|field| format!("`{{{field}}}`")).collect();
        let fields = fields.join(", ");
        let headers = if kind.has_headers { "yes" } else { "no" };
        let inputs::Kind { name, about, channel, .. } = kind;
        text += &format!("| `{name}` | {about} | {fields} | {headers} | `{channel}` |\n");
    }
    text += INPUT_KEYS_HEAD;
    for inputs::Key { name, kinds, repeats, default, value, help } in &inputs::KEYS {
        let kinds = if kinds.is_empty() { "all".to_owned() } else { kinds.join(", ") };
        let times = if *repeats { ", several times" } else { "" };
        text += &format!("| `{name}` | {kinds} | {default} | {value}{times} | {help} |\n");
    }
    text
}

fn reference_row(setting: &Setting) -> String {
    let Setting { name, variable, help, kind, is_live, .. } = setting;
    let reload = if *is_live { "yes" } else { "no" };
    let default = match setting.default {
        "" => "none".to_owned(),
        default => format!("`{default}`"),
    };
    let range = match setting.range {
        Some((low, high)) => format!("{kind}, {low} to {high}"),
        None => (*kind).to_owned(),
    };
    format!("| `{name}` | `{variable}` | {default} | {range} | {reload} | {help} |\n")
}

const KEYS_HEAD: &str = "
### Of each pattern of channels

| Key | Default | Value | What it does |
| --- | --- | --- | --- |
";

const KINDS_HEAD: &str = "
### Kinds of inputs

| Kind | What it reads | What a template may have | Headers | Channel unless told |
| --- | --- | --- | --- | --- |
";

const INPUT_KEYS_HEAD: &str = "
### Of each input

| Key | Kinds | Default | Value | What it does |
| --- | --- | --- | --- | --- |
";

const REFERENCE_HEAD: &str = "\
| Flag and TOML key | Environment | Default | Value | Reload | What it does |
| --- | --- | --- | --- | --- | --- |
";
