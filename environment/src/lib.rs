//! Reads the command line and the environment variables of DockHost's programs.
//!
//! An empty variable counts as absent. All invalid variables are reported at once. A `DOCKHOST_*` variable that no
//! program knows is reported with the nearest known name; `.env.example` is the list of known names.

pub mod settings;

use std::collections::BTreeSet;
use std::error::Error as _;
use std::ffi::OsString;
use std::num::{IntErrorKind, ParseIntError};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, Parser};

use settings::Setting;

/// The version of this build, with the commit that it was built from: `0.1.0 (1a2b3c4d5e6f)`. Builds that are not optimised
/// don't name it, because they would be compiled again after each commit.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), env!("DOCKHOST_BUILD"));

/// The text of `.env.example`: all variables, commented, with an explanation of each.
pub const EXAMPLE: &str = include_str!("../../.env.example");
const PREFIX: &str = "DOCKHOST_";

/// A parsed command line.
#[derive(Debug)]
pub struct Parsed<P> {
    /// The arguments; an invalid variable was treated as absent.
    pub args: P,
    /// One sentence for each invalid variable.
    pub problems: Vec<String>,
    /// The arguments that have variables, for people.
    pub settings: Vec<Setting>,
}

/// Everything that is wrong with the environment, one sentence each.
#[derive(Debug, thiserror::Error)]
#[error("the configuration is invalid:\n{}", .0.iter().map(|problem| format!("  - {problem}")).collect::<Vec<_>>().join("\n"))]
pub struct InvalidConfiguration(pub Vec<String>);

/// The value of a variable; `None` if it is absent or empty.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Parses the command line of this process; prints the help or a usage error and exits where clap would.
#[must_use]
pub fn parse<P: Parser>() -> Parsed<P> {
    parse_from(&std::env::args_os().collect::<Vec<_>>()).unwrap_or_else(|error| error.exit())
}

/// Parses until no invalid variable is left: clap stops at the first, so each is hidden from the next attempt.
fn parse_from<P: Parser>(args: &[OsString]) -> Result<Parsed<P>, clap::Error> {
    let mut hidden = BTreeSet::new();
    let mut problems = Vec::new();
    loop {
        let mut command = P::command();
        command.build();
        let parsed = hide_variables(P::command(), &hidden).try_get_matches_from(args).and_then(|mut matches| {
            let settings = settings::in_force(&command, &matches);
            Ok((P::from_arg_matches_mut(&mut matches)?, settings))
        });
        let error = match parsed {
            Ok((args, settings)) => return Ok(Parsed { args, problems, settings }),
            Err(error) => error,
        };
        match invalid_variable(&command, &error) {
            Some((name, problem)) if hidden.insert(name.clone()) => problems.push(problem),
            _ => {
                let missing = missing_variables(&command, &error);
                if missing.is_empty() {
                    return Err(error);
                }
                problems.extend(missing);
                return Err(clap::Error::raw(error.kind(), format!("{}\n", InvalidConfiguration(problems))));
            }
        }
    }
}

/// Detaches empty variables, and those in `hidden`, from their arguments.
fn hide_variables(command: Command, hidden: &BTreeSet<String>) -> Command {
    let is_absent = |arg: &Arg| {
        name_of(arg).is_some_and(|name| hidden.contains(&name) || std::env::var_os(&name).is_some_and(|v| v.is_empty()))
    };
    command
        .mut_args(|arg| if is_absent(&arg) { arg.env(Resettable::Reset) } else { arg })
        .mut_subcommands(|subcommand| hide_variables(subcommand, hidden))
}

fn name_of(arg: &Arg) -> Option<String> {
    arg.get_env().map(|name| name.to_string_lossy().into_owned())
}

/// The argument that an error names, such as `--port <PORT>`, if it has a variable.
fn find_arg<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.get_env().is_some() && arg.to_string() == shown);
    own.or_else(|| command.get_subcommands().find_map(|subcommand| find_arg(subcommand, shown)))
}

/// The variable whose value an error is about, and what is wrong with it.
fn invalid_variable(command: &Command, error: &clap::Error) -> Option<(String, String)> {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let arg = find_arg(command, context(ContextKind::InvalidArg)?)?;
    let name = name_of(arg)?;
    let value = context(ContextKind::InvalidValue)?;
    // Otherwise the flag is invalid, not the variable.
    variable(&name).filter(|whole| whole.contains(value))?;
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => explain(source),
        (None, Some(ContextValue::Strings(values))) => format!("it must be one of: {}", values.join(", ")),
        (None, _) => "it is invalid".to_owned(),
    };
    let shown = if arg.is_hide_env_values_set() { String::new() } else { format!("={value:?}") };
    Some((name.clone(), format!("{name}{shown}: {reason}")))
}

/// What a value has to be. The standard library's errors about numbers don't say that.
fn explain(source: &(dyn std::error::Error + 'static)) -> String {
    match source.downcast_ref::<ParseIntError>().map(ParseIntError::kind) {
        Some(IntErrorKind::PosOverflow) => "it is too large a number".to_owned(),
        Some(_) => "it must be a whole number, in digits only".to_owned(),
        None => source.to_string(),
    }
}

/// The variables of required arguments that are absent, if each such argument has one.
fn missing_variables(command: &Command, error: &clap::Error) -> Vec<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::Strings(args)) if error.kind() == ErrorKind::MissingRequiredArgument => {
            let names = args.iter().map(|shown| find_arg(command, shown).and_then(name_of));
            let missing = names.map(|name| name.map(|name| format!("{name} is missing")));
            missing.collect::<Option<_>>().unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// One warning for each `DOCKHOST_*` variable of this process that no program of DockHost knows.
#[must_use]
pub fn unknown_variables() -> Vec<String> {
    let set = std::env::vars_os().filter(|(_, value)| !value.is_empty());
    set.filter_map(|(name, _)| warning(name.to_str()?)).collect()
}

fn warning(name: &str) -> Option<String> {
    let known: BTreeSet<&str> = known_variables().collect();
    if !name.starts_with(PREFIX) || known.contains(name) {
        return None;
    }
    let nearest = known.into_iter().map(|known| (strsim::damerau_levenshtein(name, known), known)).min()?;
    // A third of the letters may differ; beyond that the names have nothing in common.
    Some(if nearest.0 <= (name.len() - PREFIX.len()) / 3 {
        format!("unknown variable {name} has no effect; did you mean {}?", nearest.1)
    } else {
        format!("unknown variable {name} has no effect")
    })
}

/// The variables of all programs: those that `.env.example` sets or shows in a comment.
fn known_variables() -> impl Iterator<Item = &'static str> {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    let names = EXAMPLE.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    names.map(|(name, _)| name).filter(move |name| is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cargo sets these variables for tests: the repository's URL to nothing, the name to this crate's.
    #[derive(Debug, Parser)]
    #[command(name = "test")]
    struct Args {
        #[arg(long, env = "CARGO_PKG_REPOSITORY", default_value_t = 7)]
        empty: u32,
        #[arg(long, env = "CARGO_PKG_NAME")]
        name: Option<u32>,
        #[arg(long, env = "CARGO_PKG_VERSION", hide_env_values = true)]
        secret: Option<bool>,
        #[arg(long, env = "DOCKHOST_NOT_SET")]
        required: String,
    }

    fn parse(args: &[&str]) -> Result<Parsed<Args>, clap::Error> {
        parse_from(&std::iter::once(&"test").chain(args).map(Into::into).collect::<Vec<_>>())
    }

    #[test]
    fn parse_invalid_variables_names_all_and_treats_them_and_empty_ones_as_absent() {
        let Parsed { args, problems, .. } = parse(&["--required", "x"]).unwrap();
        assert_eq!((args.empty, args.name, args.secret), (7, None, None));
        let [name, secret] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(name.starts_with("CARGO_PKG_NAME=\"dockhost-environment\": it must be a whole number"), "{name}");
        assert_eq!(secret, "CARGO_PKG_VERSION: it must be one of: true, false");
    }

    #[test]
    fn parse_missing_variable_is_named_with_the_invalid_ones() {
        let error = parse(&[]).unwrap_err().to_string();
        assert!(error.contains("  - CARGO_PKG_NAME=") && error.contains("  - DOCKHOST_NOT_SET is missing"), "{error}");
    }

    #[test]
    fn parse_invalid_flag_is_a_usage_error() {
        let error = parse(&["--required", "x", "--empty", "many"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
    }

    #[test]
    fn warning_misspelt_variable_names_the_nearest_known_one() {
        assert_eq!(
            warning("DOCKHOST_REPLICA").unwrap(),
            "unknown variable DOCKHOST_REPLICA has no effect; did you mean DOCKHOST_REPLICAS?"
        );
        assert!(warning("DOCKHOST_CREATE_WITHN_MS").unwrap().ends_with("DOCKHOST_CREATE_WITHIN_MS?"));
        assert_eq!(warning("DOCKHOST_FOO").unwrap(), "unknown variable DOCKHOST_FOO has no effect");
        assert_eq!(warning("DOCKHOST_REPLICAS"), None);
        assert_eq!(warning("PATH"), None);
    }
}
