//! The settings of a process as they are in force, with where each comes from. A secret says no more than whether it is set.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use crate::{EXAMPLE, name_of, variable};

/// A setting of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name of its variable.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// Its value.
    pub value: Value,
    /// Where the value comes from.
    pub source: Source,
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// As it is written in the environment; several are separated by commas.
    Plain(String),
    /// It has none, or one that depends on others; `about` says which.
    Absent,
    /// It has one that nobody is shown.
    Secret,
    /// It would be secret, but has none.
    AbsentSecret,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The program itself.
    Default,
    /// A variable, or a line of `.env`.
    Environment,
    /// The command line.
    Argument,
}

impl Setting {
    /// A variable that is no argument as well.
    #[must_use]
    pub fn of_variable(name: &str) -> Self {
        let value = variable(name).map_or(Value::Absent, Value::Plain);
        Self { name: name.to_owned(), about: about(EXAMPLE, name), value, source: source_of(name) }
    }

    /// A secret that is no argument.
    #[must_use]
    pub fn secret(name: &str, is_set: bool) -> Self {
        let value = if is_set { Value::Secret } else { Value::AbsentSecret };
        Self { name: name.to_owned(), about: about(EXAMPLE, name), value, source: source_of(name) }
    }

    fn of_argument(arg: &Arg, matches: &ArgMatches) -> Option<Self> {
        let (name, id) = (name_of(arg)?, arg.get_id().as_str());
        let source = match matches.value_source(id) {
            Some(ValueSource::CommandLine) => Source::Argument,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => Source::Default,
        };
        let values = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        let value = match (arg.is_hide_env_values_set(), values.is_empty()) {
            (true, false) => Value::Secret,
            (true, true) => Value::AbsentSecret,
            (false, false) => Value::Plain(values.join(",")),
            (false, true) => Value::Absent,
        };
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        Some(Self { name, about, value, source })
    }
}

fn source_of(name: &str) -> Source {
    if variable(name).is_some() { Source::Environment } else { Source::Default }
}

/// The arguments of the chosen subcommand that have variables.
#[must_use]
pub fn in_force(command: &Command, matches: &ArgMatches) -> Vec<Setting> {
    let chosen = matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)));
    match chosen {
        Some((command, matches)) => in_force(command, matches),
        None => command.get_arguments().filter_map(|arg| Setting::of_argument(arg, matches)).collect(),
    }
}

/// What `.env.example` says of a variable: the comment above it, which some share.
fn about(example: &str, name: &str) -> String {
    let mut comment = Vec::new();
    let mut was_assignment = false;
    for line in example.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            if was_assignment {
                comment.clear();
            }
            comment.push(text);
            was_assignment = false;
        } else if let Some((assigned, _)) = line.trim_start_matches('#').split_once('=') {
            if assigned == name {
                return comment.join(" ");
            }
            was_assignment = true;
        } else {
            comment.clear();
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo sets some of these variables for tests.
    fn command() -> Command {
        let arg = |name: &'static str, variable: &'static str, help: &'static str| {
            Arg::new(name).long(name).env(variable).help(help)
        };
        Command::new("test").subcommand(Command::new("run").args([
            arg("port", "DOCKHOST_NO_SUCH_PORT", "The port").default_value("7"),
            arg("name", "CARGO_PKG_NAME", "The name"),
            arg("list", "DOCKHOST_NO_SUCH_LIST", "The list").value_delimiter(','),
            arg("key", "CARGO_PKG_VERSION", "The key").hide_env_values(true),
            arg("other", "DOCKHOST_NO_SUCH_KEY", "The other key").hide_env_values(true),
            arg("absent", "DOCKHOST_NO_SUCH_NAME", "Absent"),
            Arg::new("without").long("without"),
        ]))
    }

    #[test]
    fn in_force_has_values_and_sources_and_no_secret() {
        let matches = command().get_matches_from(["test", "run", "--list", "a,b"]);
        let found = in_force(&command(), &matches);
        let setting = |name: &str, about: &str, value, source| Setting {
            name: name.to_owned(),
            about: about.to_owned(),
            value,
            source,
        };
        let plain = |text: &str| Value::Plain(text.to_owned());
        let expected = [
            setting("DOCKHOST_NO_SUCH_PORT", "The port", plain("7"), Source::Default),
            setting("CARGO_PKG_NAME", "The name", plain("dockhost-environment"), Source::Environment),
            setting("DOCKHOST_NO_SUCH_LIST", "The list", plain("a,b"), Source::Argument),
            setting("CARGO_PKG_VERSION", "The key", Value::Secret, Source::Environment),
            setting("DOCKHOST_NO_SUCH_KEY", "The other key", Value::AbsentSecret, Source::Default),
            setting("DOCKHOST_NO_SUCH_NAME", "Absent", Value::Absent, Source::Default),
        ];
        assert_eq!(found, expected);
        assert!(!format!("{found:?}").contains(env!("CARGO_PKG_VERSION")), "{found:?}");
    }

    #[test]
    fn about_is_the_comment_above_a_variable_also_if_it_is_shared() {
        let example = "# ---- Part ----\n\n# First line\n# and second.\n#ONE=1\n#TWO=\n# Other.\n#THREE=3\n\n#FOUR=\n";
        let found = ["ONE", "TWO", "THREE", "FOUR", "FIVE"].map(|name| about(example, name));
        assert_eq!(found, ["First line and second.", "First line and second.", "Other.", "", ""]);
    }

    #[test]
    fn setting_of_a_variable_is_explained_by_the_example() {
        let log = Setting::of_variable("DOCKHOST_LOG");
        assert!(log.about.starts_with("The form of the log of server and agent"), "{log:?}");
        let secret = Setting::secret("DOCKHOST_MASTER_KEY", true);
        assert_eq!((secret.value, secret.source), (Value::Secret, Source::Default));
    }
}
