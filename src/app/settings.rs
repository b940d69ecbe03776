//! The settings that are in force, which administrators are shown: the arguments that have variables, the variables that are no
//! arguments, and whether each secret, and each address that may have a password in it, is set.

use dockhost_environment::settings::Setting;
use dockhost_environment::variable;

use super::secrets::Secrets;
use super::telemetry;

/// The password of the first administrator, which is no argument either.
const ADMIN_PASSWORD: &str = "DOCKHOST_ADMIN_PASSWORD";

/// All settings of this process. `secret` looks a secret up.
#[must_use]
pub fn in_force(arguments: Vec<Setting>, secret: impl Fn(&str) -> Option<String>) -> Vec<Setting> {
    let mut settings = arguments;
    settings.extend(telemetry::VARIABLES.map(Setting::of_variable));
    let secret_variable = |name| Setting::secret(name, variable(name).is_some());
    settings.extend([telemetry::COLLECTOR, ADMIN_PASSWORD].map(secret_variable));
    let is_set = |name: &str| secret(name).is_some_and(|value| !value.is_empty());
    settings.extend(Secrets::names().iter().map(|name| Setting::secret(name, is_set(name))));
    settings
}

#[cfg(test)]
mod tests {
    use dockhost_environment::settings::Value;

    use super::*;

    #[test]
    fn in_force_says_of_secrets_only_whether_they_are_set() {
        let secret = |name: &str| (name == "DOCKHOST_MASTER_KEY").then(|| "the secret".to_owned());
        let settings = in_force(vec![], secret);
        let value = |name: &str| settings.iter().find(|one| one.name == name).map(|one| one.value.clone());
        assert_eq!(value("DOCKHOST_MASTER_KEY"), Some(Value::Secret));
        for absent in ["DOCKHOST_CALLOUT_SEED", "OTEL_EXPORTER_OTLP_ENDPOINT"] {
            assert_eq!(value(absent), Some(Value::AbsentSecret), "{absent}");
        }
        assert!(!format!("{settings:?}").contains("the secret"), "{settings:?}");
    }
}
