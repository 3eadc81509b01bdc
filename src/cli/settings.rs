//! The settings as flags: made from the table, so that help and parser know every one of them.

use std::{env, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use stentor::config::{CONFIG_VARIABLE, Inputs, SETTINGS, Setting, Shape, input_flags};

/// A flag for every setting, and one for the settings file.
pub fn args() -> Vec<Arg> {
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help(format!(
            "Settings file, in TOML; its keys are the flags below [env: {CONFIG_VARIABLE}]"
        ));
    let settings = SETTINGS.iter().enumerate().map(|(at, setting)| {
        // After the flags that belong to the program, in the order of the table.
        arg(setting).display_order(FLAGS_BEFORE_SETTINGS + at)
    });
    let inputs = input_flags().into_iter().enumerate().map(|(at, flag)| {
        Arg::new(flag.name)
            .long(flag.name)
            .value_name(flag.noun)
            .help_heading(INPUT_HEADING)
            .help(flag.help.into_owned())
            .action(ArgAction::Append)
            .allow_hyphen_values(true)
            .hide_short_help(true)
            .display_order(FLAGS_BEFORE_SETTINGS + SETTINGS.len() + at)
    });
    [file].into_iter().chain(settings).chain(inputs).collect()
}

/// What the flags and the environment say.
pub fn inputs(matches: &ArgMatches) -> Inputs {
    let flags = SETTINGS.iter().flat_map(|setting| {
        let values = matches.get_many::<String>(setting.name).unwrap_or_default();
        values.map(|value| (setting.name, value.clone()))
    });
    let words = input_flags().into_iter().flat_map(|flag| {
        let values = matches.get_many::<String>(flag.name).unwrap_or_default();
        values.map(move |value| (flag.name, value.clone()))
    });
    Inputs {
        flags: flags.collect(),
        input: words.collect(),
        file: matches.get_one("config").cloned(),
        environment: env::vars_os().collect(),
    }
}

fn arg(setting: &Setting) -> Arg {
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.noun)
        .help_heading(setting.group)
        .help(help(setting))
        .visible_aliases(setting.name.strip_suffix('s').filter(|_| setting.name == "inputs"));
    match setting.shape {
        // A value may begin with a dash: it is refused by us, in our words.
        Shape::One => arg.action(ArgAction::Set).allow_hyphen_values(true),
        Shape::List | Shape::Entries => arg.action(ArgAction::Append),
        Shape::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
    }
}

fn help(setting: &Setting) -> String {
    let default = match (setting.shape, setting.default) {
        (Shape::List | Shape::Entries, _) => " May be repeated.".to_owned(),
        (_, "") => " [default: none]".to_owned(),
        (_, default) => format!(" [default: {default}]"),
    };
    format!("{}{default} [env: {}]", setting.help, setting.variable)
}

/// Flags besides the settings.
const INPUT_HEADING: &str = "One input, in short";
const FLAGS_BEFORE_SETTINGS: usize = 100;
