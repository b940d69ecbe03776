//! Names the commit that is built, for [`VERSION`](dockhost_environment): `DOCKHOST_COMMIT` if it is set, because images and
//! packages are built without the repository, else what git says.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=DOCKHOST_COMMIT");
    let named = env::var("DOCKHOST_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_optimised = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = named.or_else(|| is_optimised.then(commit_of_git).flatten());
    println!("cargo::rustc-env=DOCKHOST_BUILD={}", commit.map(|commit| format!(" ({commit})")).unwrap_or_default());
}

/// The commit, marked if files differ from it; `None` without git or outside of a repository.
fn commit_of_git() -> Option<String> {
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}
