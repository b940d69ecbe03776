//! What the API answers about the account of the user who is signed in, with the words that pages use for it.

use serde::Deserialize;

use crate::instance::memory;
use crate::moment::Moment;

/// The account.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The name, unless it was erased.
    pub username: Option<String>,
    /// The email address, unless it was erased.
    pub email: Option<String>,
    /// `user` or `admin`.
    pub role: String,
    /// When they signed up.
    pub created_at: Moment,
    /// How many instances they may have; none for no limit.
    pub max_instances: Option<u32>,
    /// How many processors their instances may have in all; none for no limit.
    pub max_cpu: Option<f64>,
    /// How much memory their instances may have in all, in MiB; none for no limit.
    pub max_memory_mib: Option<u32>,
    /// What counts for these limits.
    #[serde(rename = "use")]
    pub used: Use,
    /// Their group, if they are in one.
    pub group: Option<Group>,
}

/// What all instances of a user have in total, stopped ones included.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// The instances.
    pub instances: u32,
    /// Processors.
    pub cpu: f64,
    /// Memory in MiB.
    pub memory_mib: u32,
}

/// A group, as its members see it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub name: String,
    /// When the instances of its members are stopped for good.
    pub ends_at: Option<Moment>,
    /// For how many minutes an instance may run.
    pub time_to_live_minutes: Option<u32>,
    /// After how many minutes without an SSH connection an instance is stopped.
    pub autostop_minutes: Option<u32>,
}

/// A limit and how much of it is in use.
pub struct Gauge {
    /// Of what.
    pub name: &'static str,
    /// How much is in use, in words.
    pub used: String,
    /// The limit in words; none for no limit.
    pub limit: Option<String>,
    /// How much is in use and the limit as numbers, for a bar; none for no limit.
    pub bar: Option<(f64, f64)>,
}

impl Account {
    /// The limits with their use.
    #[must_use]
    pub fn gauges(&self) -> [Gauge; 3] {
        let Use { instances, cpu, memory_mib } = self.used;
        let count = |count: u32| count.to_string();
        [
            gauge("Instances", instances, self.max_instances, count),
            gauge("Processors", cpu, self.max_cpu, |cpu| cpu.to_string()),
            gauge("Memory", memory_mib, self.max_memory_mib, memory),
        ]
    }

    /// The limits that their group sets, each as a sentence.
    #[must_use]
    pub fn group_limits(&self) -> Vec<String> {
        let Some(group) = &self.group else { return vec![] };
        let run = group.time_to_live_minutes.map(|limit| format!("An instance runs for {} at most.", minutes(limit)));
        let idle = group
            .autostop_minutes
            .map(|limit| format!("An instance that has had no SSH connection for {} is stopped.", minutes(limit)));
        run.into_iter().chain(idle).collect()
    }
}

fn gauge<T: Copy + Into<f64>>(name: &'static str, used: T, limit: Option<T>, words: impl Fn(T) -> String) -> Gauge {
    let bar = limit.map(|limit| (used.into(), limit.into()));
    Gauge { name, used: words(used), limit: limit.map(&words), bar }
}

/// A number of minutes in the largest unit in which it is a whole number.
#[must_use]
pub fn minutes(minutes: u32) -> String {
    let (count, unit) = match minutes {
        days if days.is_multiple_of(1440) => (days / 1440, "day"),
        hours if hours.is_multiple_of(60) => (hours / 60, "hour"),
        minutes => (minutes, "minute"),
    };
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

/// A sign-in that is valid.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: String,
    /// When it began.
    pub started_at: Moment,
    /// When it ends by itself.
    pub expires_at: Moment,
    /// Whether it is that of the reader.
    pub is_current: bool,
    /// The address of the computer.
    pub address: Option<String>,
    /// The beginning of its `User-Agent`.
    pub device: Option<String>,
}

impl Session {
    /// The program and the system, such as `Firefox on Linux`.
    #[must_use]
    pub fn program(&self) -> String {
        let Some(device) = &self.device else { return "Unknown program".to_owned() };
        let find = |names: &[(&str, &'static str)]| {
            names.iter().find(|(mark, _)| device.contains(mark)).map(|(_, name)| *name)
        };
        // A browser names those that it is compatible with as well, so the order counts.
        let browser = find(&[
            ("Firefox/", "Firefox"),
            ("Edg/", "Edge"),
            ("OPR/", "Opera"),
            ("Chrome/", "Chrome"),
            ("Safari/", "Safari"),
        ]);
        let system = find(&[
            ("Android", "Android"),
            ("iPhone", "iPhone"),
            ("iPad", "iPad"),
            ("Windows", "Windows"),
            ("Mac OS X", "macOS"),
            ("Linux", "Linux"),
        ]);
        match (browser, system) {
            (Some(browser), Some(system)) => format!("{browser} on {system}"),
            (Some(browser), None) => browser.to_owned(),
            (None, _) => device.split(' ').next().unwrap_or(device).to_owned(),
        }
    }
}

/// A token of the API.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiToken {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do: `read`, `instances` or `all`.
    pub scope: String,
    /// When it was made.
    pub created_at: Moment,
    /// When it ends.
    pub expires_at: Moment,
}

impl ApiToken {
    /// What it may do, in words.
    #[must_use]
    pub fn may(&self) -> &str {
        match self.scope.as_str() {
            "read" => "reads",
            "instances" => "reads, and changes instances",
            "all" => "does nearly everything",
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn program(device: Option<&str>) -> String {
        let session: Session = serde_json::from_value(json!({
            "id": "1", "startedAt": "2026-11-22T10:00:15.000Z", "expiresAt": "2026-11-23T10:00:15.000Z", "isCurrent": true,
            "address": null, "device": device,
        }))
        .unwrap();
        session.program()
    }

    #[test]
    fn session_names_the_program_and_the_system() {
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0 Safari/537.36 Edg/141.0";
        assert_eq!(program(Some(edge)), "Edge on Windows");
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1";
        assert_eq!(program(Some(safari)), "Safari on iPhone");
        assert_eq!(
            program(Some("Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0")),
            "Firefox on Linux"
        );
        assert_eq!(program(Some("curl/8.14.1")), "curl/8.14.1");
        assert_eq!(program(None), "Unknown program");
    }

    #[test]
    fn minutes_are_in_the_largest_whole_unit() {
        assert_eq!([5, 60, 90, 1440, 4320].map(minutes), ["5 minutes", "1 hour", "90 minutes", "1 day", "3 days"]);
    }
}
