//! The first administrator, from the configuration: created at a start if there is no administrator.

use std::sync::Arc;

use anyhow::{Context, bail};
use dockhost_domain::administrators::Administrators;
use dockhost_domain::envelope::{Actor, Origin};
use dockhost_domain::names::Username;
use dockhost_domain::subject::AllAdministrators;
use dockhost_environment::InvalidConfiguration;
use secrecy::{ExposeSecret, SecretString};

use super::config::AccountArgs;
use crate::accounts::create::{CreateRejected, NewAdministrator, create_administrator};
use crate::auth::password::Passwords;
use crate::auth::password_rules;
use crate::execute::{ExecuteError, Executor};
use crate::sealing::Keyring;

/// The name and the password of the first administrator.
#[derive(Debug, Clone)]
pub struct FirstAdmin {
    /// The name; one that is reserved at sign-up is allowed.
    pub username: Username,
    /// The password.
    pub password: SecretString,
}

impl AccountArgs {
    /// The first administrator, if one is configured.
    ///
    /// # Errors
    /// A name without a password or the other way round, or a password that is refused.
    pub fn first_admin(&self) -> Result<Option<FirstAdmin>, InvalidConfiguration> {
        let invalid = |problem: String| Err(InvalidConfiguration(vec![problem]));
        let (username, password) = match (&self.admin_username, &self.admin_password) {
            (None, None) => return Ok(None),
            (Some(username), Some(password)) => (username.clone(), password.clone()),
            _ => return invalid("DOCKHOST_ADMIN_USERNAME and DOCKHOST_ADMIN_PASSWORD need each other".to_owned()),
        };
        if !password_rules::has_valid_length(password.expose_secret()) {
            return invalid("DOCKHOST_ADMIN_PASSWORD must be 8 to 128 characters long".to_owned());
        }
        if let Err(weak) = password_rules::check(password.expose_secret(), [username.as_str()]) {
            return invalid(format!("DOCKHOST_ADMIN_PASSWORD {weak}"));
        }
        Ok(Some(FirstAdmin { username, password }))
    }
}

impl FirstAdmin {
    /// Creates the account, unless there is an administrator, whatever their name and password.
    ///
    /// # Errors
    /// Someone else has the name, or the log can't be read or written.
    pub async fn ensure(self, executor: &Arc<Executor>, keyring: &Keyring) -> anyhow::Result<()> {
        if !executor.confirmed::<Administrators>(AllAdministrators).await?.state.is_empty() {
            return Ok(());
        }
        let password_verifier = Passwords::new()?.hash(self.password).await?;
        let new = NewAdministrator { username: self.username, email: None, password_verifier, only_as_the_first: true };
        let origin = Origin::new(Actor::Operator, "configuration");
        match create_administrator(executor, keyring, &new, &origin).await {
            Ok(user_id) => tracing::info!(%user_id, "created the first administrator, DOCKHOST_ADMIN_USERNAME"),
            // Another replica was faster.
            Err(ExecuteError::Rejected(CreateRejected::HasAdministrators(_))) => {}
            Err(ExecuteError::Rejected(CreateRejected::UsernameTaken)) => bail!(
                "there is no administrator yet, and another user has the name of DOCKHOST_ADMIN_USERNAME; choose another \
                 name, or make that user the administrator with `dockhost admin create --existing`"
            ),
            Err(error) => return Err(error).context("creating the first administrator"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Parsed {
        #[command(flatten)]
        accounts: AccountArgs,
    }

    #[test]
    fn first_admin_needs_a_name_and_a_good_password() {
        let first_admin = |name: Option<&str>, password: Option<&str>| {
            let mut accounts = Parsed::parse_from(["server"]).accounts;
            accounts.admin_username = name.map(|name| name.parse().unwrap());
            accounts.admin_password = password.map(Into::into);
            let first = accounts.first_admin().map_err(|problem| problem.to_string())?;
            Ok::<_, String>(first.map(|first| first.username.as_str().to_owned()))
        };
        assert_eq!(first_admin(None, None), Ok(None));
        assert_eq!(first_admin(Some("admin"), Some("correct horse")), Ok(Some("admin".to_owned())));
        for (name, password, problem) in [
            (Some("admin"), None, "need each other"),
            (None, Some("correct horse"), "need each other"),
            (Some("admin"), Some("short"), "8 to 128 characters"),
            (Some("admin"), Some("password"), "is one of the most common passwords"),
            (Some("caretaker"), Some("caretaker1"), "is the name or the address"),
        ] {
            let error = first_admin(name, password).unwrap_err();
            assert!(
                error.contains(problem) && !password.is_some_and(|secret| error.contains(&format!("\"{secret}"))),
                "{error}"
            );
        }
    }
}
