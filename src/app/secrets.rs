//! The secrets of the main server. They come from the environment only: a flag would show in the process list.

use std::cell::RefCell;
use std::collections::BTreeSet;

use dockhost_environment::InvalidConfiguration;
use secrecy::{ExposeSecret, SecretString};

use crate::auth::token::TokenSecret;
use crate::sealing::MasterKey;

/// Bytes that a secret which signs tokens must have.
const MIN_TOKEN_SECRET_LENGTH: usize = 32;

/// The secrets, checked.
pub struct Secrets {
    /// Signs users' tokens.
    pub user_tokens: TokenSecret,
    /// Signs backends' tokens and API keys.
    pub backend_tokens: TokenSecret,
    /// Wraps the keys of personal data, and unwraps those that the previous one wrapped.
    pub master_key: MasterKey,
    /// The nkey seed of the server's user at the broker.
    pub nats: SecretString,
    /// The nkey seed that signs the broker's permissions for backends.
    pub callout: SecretString,
    /// The nkey seed of the broker's system account: it asks for the nodes' settings and stores, and cuts off
    /// agents that flood.
    pub nats_system: Option<SecretString>,
}

impl Secrets {
    /// The variables of all secrets: those that [`Secrets::read`] looks up.
    #[must_use]
    pub fn names() -> BTreeSet<String> {
        let names = RefCell::<BTreeSet<String>>::default();
        let look_up = |name: &str| {
            names.borrow_mut().insert(name.to_owned());
            None
        };
        // Nothing is found, so that each is looked up.
        let _ = Self::read(look_up);
        names.take()
    }

    /// Reads and checks all secrets; `get` looks a variable up.
    ///
    /// # Errors
    /// Names every secret that is missing or invalid; shows no value.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, InvalidConfiguration> {
        let mut reader = Reader { get, problems: Vec::new() };
        let user_tokens = reader.secret("USER_ACCESS_TOKEN_SECRET", token_secret);
        let previous_user_tokens = reader.optional_secret("USER_ACCESS_TOKEN_SECRET_PREVIOUS", token_secret);
        let backend_tokens = reader.secret("BACKEND_ACCESS_TOKEN_SECRET", token_secret);
        let previous_backend_tokens = reader.optional_secret("BACKEND_ACCESS_TOKEN_SECRET_PREVIOUS", token_secret);
        let master_key = reader.secret("DOCKHOST_MASTER_KEY", parse_master_key);
        let previous_master_key = reader.optional_secret("DOCKHOST_MASTER_KEY_PREVIOUS", parse_master_key);
        let nats = reader.secret("DOCKHOST_NATS_CREDS", nkey_seed);
        let callout = reader.secret("DOCKHOST_CALLOUT_SEED", nkey_seed);
        let nats_system = reader.optional_secret("DOCKHOST_NATS_SYS_CREDS", nkey_seed);
        reader.must_differ(&[
            ("USER_ACCESS_TOKEN_SECRET", &user_tokens),
            ("USER_ACCESS_TOKEN_SECRET_PREVIOUS", &previous_user_tokens),
            ("BACKEND_ACCESS_TOKEN_SECRET", &backend_tokens),
            ("BACKEND_ACCESS_TOKEN_SECRET_PREVIOUS", &previous_backend_tokens),
        ]);
        match (user_tokens, backend_tokens, master_key, nats, callout) {
            (Some(user_tokens), Some(backend_tokens), Some(master_key), Some(nats), Some(callout))
                if reader.problems.is_empty() =>
            {
                let user_tokens = TokenSecret { current: user_tokens, previous: previous_user_tokens };
                let backend_tokens = TokenSecret { current: backend_tokens, previous: previous_backend_tokens };
                let master_key = master_key.beside(previous_master_key);
                Ok(Self { user_tokens, backend_tokens, master_key, nats, callout, nats_system })
            }
            _ => Err(InvalidConfiguration(reader.problems)),
        }
    }
}

/// Reads secrets and collects what is wrong with them.
struct Reader<G> {
    get: G,
    problems: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    fn secret<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let secret = self.optional_secret(name, parse);
        if (self.get)(name).is_none_or(|value| value.is_empty()) {
            self.problems.push(format!("{name} is missing (`dockhost secrets` generates all secrets)"));
        }
        secret
    }

    /// Equal secrets would let one kind of principal act as another, and a rotation that keeps the secret is a mistake.
    fn must_differ(&mut self, secrets: &[(&str, &Option<SecretString>)]) {
        for (nth, (name, secret)) in secrets.iter().enumerate() {
            for (other_name, other) in &secrets[nth + 1..] {
                if let (Some(one), Some(other)) = (secret, other)
                    && one.expose_secret() == other.expose_secret()
                {
                    self.problems.push(format!("{name} and {other_name} must differ"));
                }
            }
        }
    }

    fn optional_secret<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let value = (self.get)(name).filter(|value| !value.is_empty())?;
        parse(&value).map_err(|problem| self.problems.push(format!("{name} {problem}"))).ok()
    }
}

fn token_secret(value: &str) -> Result<SecretString, String> {
    if value.len() < MIN_TOKEN_SECRET_LENGTH {
        return Err(format!("is {} bytes long; it must have at least {MIN_TOKEN_SECRET_LENGTH}", value.len()));
    }
    Ok(value.into())
}

fn nkey_seed(value: &str) -> Result<SecretString, String> {
    nkeys::KeyPair::from_seed(value).map_err(|_| "is not an nkey seed".to_owned())?;
    Ok(value.into())
}

fn parse_master_key(value: &str) -> Result<MasterKey, String> {
    value.parse().map_err(|_| "must be 32 random bytes in base64".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(get: impl Fn(&str) -> Option<String>) -> String {
        Secrets::read(get).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn secrets_missing_and_invalid_are_all_named_and_not_shown() {
        let text = problems(|name| match name {
            "USER_ACCESS_TOKEN_SECRET" => Some("tooshort".to_owned()),
            "DOCKHOST_NATS_CREDS" | "DOCKHOST_NATS_SYS_CREDS" => Some("no-seed".to_owned()),
            "DOCKHOST_CALLOUT_SEED" => Some(String::new()),
            _ => None,
        });
        for problem in [
            "USER_ACCESS_TOKEN_SECRET is 8 bytes long",
            "BACKEND_ACCESS_TOKEN_SECRET is missing",
            "DOCKHOST_NATS_CREDS is not",
            "DOCKHOST_NATS_SYS_CREDS is not",
            "DOCKHOST_CALLOUT_SEED is missing",
            "DOCKHOST_MASTER_KEY is missing",
        ] {
            assert_eq!(text.matches(problem).count(), 1, "{problem}: {text}");
        }
        assert!(!text.contains("tooshort") && !text.contains("no-seed"), "{text}");
    }

    #[test]
    fn secrets_previous_that_are_short_or_equal_to_another_are_refused() {
        let long = |c: &str| Some(c.repeat(MIN_TOKEN_SECRET_LENGTH));
        let text = problems(|name| match name {
            "USER_ACCESS_TOKEN_SECRET" | "USER_ACCESS_TOKEN_SECRET_PREVIOUS" => long("u"),
            "BACKEND_ACCESS_TOKEN_SECRET" => long("b"),
            "BACKEND_ACCESS_TOKEN_SECRET_PREVIOUS" => Some("tooshort".to_owned()),
            _ => None,
        });
        for problem in [
            "USER_ACCESS_TOKEN_SECRET and USER_ACCESS_TOKEN_SECRET_PREVIOUS must differ",
            "BACKEND_ACCESS_TOKEN_SECRET_PREVIOUS is 8 bytes long",
        ] {
            assert!(text.contains(problem), "{problem}: {text}");
        }
        let crossed = problems(|name| match name {
            "USER_ACCESS_TOKEN_SECRET_PREVIOUS" | "BACKEND_ACCESS_TOKEN_SECRET" => long("x"),
            _ => None,
        });
        assert!(crossed.contains("must differ"), "{crossed}");
    }

    #[test]
    fn secrets_equal_token_secrets_are_refused() {
        let text = problems(|_| Some("x".repeat(MIN_TOKEN_SECRET_LENGTH)));
        assert!(text.contains("must differ"), "{text}");
    }
}
