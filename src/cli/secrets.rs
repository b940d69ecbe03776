//! `dockhost secrets`: generates the secrets of an installation, and the public keys for the broker.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::dev::secrets::{GeneratedSecrets, SecretsError, database_env, write_private};

/// The arguments of `secrets`.
#[derive(Debug, Args)]
pub struct Secrets {
    /// Generate all of `.env.example`, with the secrets filled in, instead of the secrets alone.
    #[arg(long)]
    env_example: bool,
    /// Write them to a new file that only its owner can read; an existing file is not replaced, because its master key may
    /// be in use.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// Variables with new values.
struct Group {
    /// What they are for.
    about: &'static str,
    variables: Vec<(&'static str, String)>,
}

impl Secrets {
    /// Generates and prints or writes them.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let groups = groups(&GeneratedSecrets::generate()?)?;
        let text =
            if self.env_example { filled(dockhost_environment::EXAMPLE, &groups) } else { secrets_alone(&groups)? };
        match self.write {
            None => print!("{text}"),
            Some(file) => {
                write_private(&file, &text)
                    .with_context(|| format!("{} is not written, and is as it was", file.display()))?;
                eprintln!("the secrets are in {}; keep a copy of DOCKHOST_MASTER_KEY elsewhere", file.display());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// All variables that `secrets` generates.
fn groups(secrets: &GeneratedSecrets) -> Result<[Group; 4], SecretsError> {
    Ok([
        Group {
            about: "For the main server. Keep a copy: without DOCKHOST_MASTER_KEY the stored personal data is lost.",
            variables: secrets.server_env(),
        },
        Group {
            about: "Registering a backend requires it.",
            variables: vec![("DOCKHOST_ENROLMENT_SECRET", secrets.enrolment())],
        },
        Group { about: "For nats-server: public keys.", variables: secrets.broker_env()? },
        Group { about: "For MongoDB in docker-compose.yml.", variables: database_env().into() },
    ])
}

/// The lines of an `.env` file with nothing else.
fn secrets_alone(groups: &[Group]) -> Result<String, std::fmt::Error> {
    let mut lines = String::new();
    for Group { about, variables } in groups {
        writeln!(lines, "# {about}")?;
        for (name, value) in variables {
            writeln!(lines, "{name}={value}")?;
        }
    }
    Ok(lines)
}

/// The text of an example whose commented variables are assigned their new values.
fn filled(example: &str, groups: &[Group]) -> String {
    let assignment = |line: &str| {
        let (commented, _) = line.strip_prefix('#')?.split_once('=')?;
        let mut variables = groups.iter().flat_map(|group| &group.variables);
        variables.find(|(name, _)| *name == commented).map(|(name, value)| format!("{name}={value}"))
    };
    let lines = example.lines().map(|line| assignment(line).unwrap_or_else(|| line.to_owned()) + "\n");
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dockhost_environment::EXAMPLE;

    use super::*;
    use crate::app::secrets::Secrets as SecretsOfTheServer;

    fn generated() -> [Group; 4] {
        groups(&GeneratedSecrets::generate().unwrap()).unwrap()
    }

    fn assignments(text: &str) -> BTreeMap<String, String> {
        dotenvy::Iter::new(text.as_bytes()).map(Result::unwrap).collect()
    }

    fn expected(groups: &[Group]) -> BTreeMap<String, String> {
        let variables = groups.iter().flat_map(|group| &group.variables);
        variables.map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn secrets_alone_assigns_every_variable_and_explains_each_group() {
        let groups = generated();
        let text = secrets_alone(&groups).unwrap();
        assert_eq!(assignments(&text), expected(&groups));
        assert_eq!(text.lines().filter(|line| line.starts_with("# ")).count(), groups.len(), "{text}");
    }

    #[test]
    fn filled_example_assigns_every_secret_and_changes_nothing_else() {
        let groups = generated();
        let text = filled(EXAMPLE, &groups);
        let assigned = assignments(&text);
        assert_eq!(assigned, expected(&groups), "a secret is missing in .env.example, or something else is assigned");
        SecretsOfTheServer::read(|name| assigned.get(name).cloned()).map(|_| ()).unwrap();
        assert_eq!(text.lines().count(), EXAMPLE.lines().count());
        let changed = EXAMPLE.lines().zip(text.lines()).filter(|(before, after)| before != after);
        assert_eq!(changed.count(), assigned.len());
    }
}
