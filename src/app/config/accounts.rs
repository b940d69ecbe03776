//! Who may have an account, and who may register backends.

use std::time::Duration;

use clap::Args;
use dockhost_domain::names::Username;
use secrecy::SecretString;

use crate::auth::admission::{Enrolment, SharedSecret, SignUp};

/// Who may have an account, and how browsers keep a session.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accounts")]
pub struct AccountArgs {
    /// Who may sign up.
    #[arg(long, env = "DOCKHOST_SIGNUP", value_name = "MODE", value_enum, default_value_t = SignUpMode::Open)]
    pub signup: SignUpMode,
    /// The codes with one of which people may sign up in the mode `invite`, also without an invitation, separated by commas.
    #[arg(long, env = "DOCKHOST_INVITE_CODES", value_name = "CODES", value_delimiter = ',', hide_env_values = true)]
    pub invite_codes: Vec<SharedSecret>,
    /// Which backends may be registered and given instances [default: approval; in `dev`: open].
    #[arg(long, env = "DOCKHOST_ENROLMENT", value_name = "MODE", value_enum)]
    pub enrolment: Option<EnrolmentMode>,
    /// The secret that registering a backend requires [default: none; anyone may register one].
    #[arg(long, env = "DOCKHOST_ENROLMENT_SECRET", value_name = "SECRET", hide_env_values = true)]
    pub enrolment_secret: Option<SharedSecret>,
    /// The username of the first administrator, created at a start if there is none; DOCKHOST_ADMIN_PASSWORD is the
    /// password.
    #[arg(long, env = "DOCKHOST_ADMIN_USERNAME", value_name = "NAME")]
    pub admin_username: Option<Username>,
    /// Not an argument, which would show in the list of processes.
    #[arg(skip)]
    pub admin_password: Option<SecretString>,
    /// Hours for which a sign-in is valid.
    #[arg(
        long,
        env = "DOCKHOST_SESSION_HOURS",
        value_name = "HOURS",
        default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=8760)
    )]
    pub session_hours: u32,
    /// Whether sign-in sets a cookie, and for which frontends; without, only bearer tokens are accepted.
    #[arg(long, env = "DOCKHOST_COOKIES", value_name = "MODE", value_enum, default_value_t = CookieMode::Auto)]
    pub cookies: CookieMode,
}

/// Which backends may be registered and given instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum EnrolmentMode {
    /// Any may be registered; it gets instances if it has an enrolment token or an administrator approves it.
    Approval,
    /// Only with an enrolment token.
    Token,
    /// Any may be registered and given instances.
    Open,
}

/// Who may sign up as a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum SignUpMode {
    /// Anyone who reaches the API.
    Open,
    /// People who have an invitation of an administrator, or an invitation code.
    Invite,
    /// Nobody.
    Closed,
}

/// Whether sign-in sets a cookie, and its `SameSite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum CookieMode {
    /// `None` in answers to frontends of other sites, otherwise `Lax`.
    #[value(alias = "on")]
    Auto,
    /// `Lax`: for frontends of the API's site only.
    Lax,
    /// `None`, which needs TLS.
    None,
    /// No cookie is set, and cookies are ignored.
    Off,
}

impl AccountArgs {
    /// Who may sign up.
    #[must_use]
    pub fn sign_up(&self) -> SignUp {
        match self.signup {
            SignUpMode::Open => SignUp::Open,
            SignUpMode::Closed => SignUp::Closed,
            SignUpMode::Invite => SignUp::Invite(self.invite_codes.clone()),
        }
    }

    /// How long a sign-in is valid.
    #[must_use]
    pub fn session_lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.session_hours) * 3600)
    }

    /// Which backends may be registered and given instances.
    #[must_use]
    pub fn enrolment(&self) -> Enrolment {
        match self.enrolment {
            None | Some(EnrolmentMode::Approval) => Enrolment::Approval,
            Some(EnrolmentMode::Token) => Enrolment::Token,
            Some(EnrolmentMode::Open) => Enrolment::Open,
        }
    }
}
