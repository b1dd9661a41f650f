//! The values that the process runs with, and where each comes from.

use std::fmt;

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use super::environment::variable;
use crate::text::without_passwords;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment variable of the flag.
    Environment,
    /// The default, or no value where there is none.
    Default,
}

/// A flag, its values and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name of the flag, without the hyphens.
    pub flag: String,
    /// The values as they were written, without passwords. Empty if there is none.
    pub values: Vec<String>,
    /// Where they come from.
    pub source: Source,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.source {
            Source::Flag | Source::Default => format!("--{}", self.flag),
            Source::Environment => variable(&self.flag),
        };
        write!(f, "{name}={}", self.shown())
    }
}

impl Setting {
    /// The values, separated by commas.
    #[must_use]
    pub fn shown(&self) -> String {
        let values = self.values.join(",");
        // A value with spaces or line ends must not look like several.
        let plain = values.chars().all(|c| c.is_ascii_graphic() && c != '"');
        if plain { values } else { format!("{values:?}") }
    }
}

/// The flags of `run`, in the order of the command line's help.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration(Vec<Setting>);

impl Configuration {
    /// The settings of a command that was parsed.
    #[must_use]
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let flags =
            command.get_arguments().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()));
        Self(flags.filter_map(|arg| setting(arg, matches)).collect())
    }

    /// Every setting.
    #[must_use]
    pub fn settings(&self) -> &[Setting] {
        &self.0
    }

    /// The names of the flags.
    pub fn flags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|setting| setting.flag.as_str())
    }

    /// The settings that are no defaults, separated by spaces.
    #[must_use]
    pub fn changed(&self) -> String {
        let changed = self.0.iter().filter(|setting| setting.source != Source::Default);
        changed.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

fn setting(arg: &Arg, matches: &ArgMatches) -> Option<Setting> {
    let flag = arg.get_long()?.to_owned();
    let id = arg.get_id().as_str();
    let raw = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
    let values = raw.map(|value| without_passwords(&value.to_string_lossy())).collect();
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => Source::Flag,
        Some(ValueSource::EnvVariable) => Source::Environment,
        Some(_) | None => Source::Default,
    };
    Some(Setting { flag, values, source })
}
