//! The SSH key of this machine's user.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::process::Command;

use crate::cli::api::private_file;

/// In the order in which they are looked for; the first is made if there is none.
const NAMES: [&str; 3] = ["id_ed25519", "id_ecdsa", "id_rsa"];

/// A key.
pub struct KeyFile {
    /// The file with the public key.
    pub path: PathBuf,
    /// Its line.
    pub public: String,
}

/// The user's key in `~/.ssh`. If there is none, `ssh-keygen` makes one, without a passphrase.
///
/// # Errors
/// There is no home directory, the file can't be read, or `ssh-keygen` fails.
pub async fn own() -> anyhow::Result<KeyFile> {
    let directory = ssh_directory()?;
    let found = NAMES.iter().map(|name| directory.join(format!("{name}.pub"))).find(|path| path.is_file());
    let path = match found {
        Some(path) => path,
        None => make(&directory.join(NAMES[0])).await?,
    };
    let public = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(KeyFile { path, public })
}

/// `~/.ssh`.
///
/// # Errors
/// There is no home directory.
pub fn ssh_directory() -> anyhow::Result<PathBuf> {
    match std::env::var_os("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(PathBuf::from(home).join(".ssh")),
        None => bail!("HOME is not set, so there is no ~/.ssh"),
    }
}

async fn make(private: &Path) -> anyhow::Result<PathBuf> {
    let public = private.with_extension("pub");
    if private.exists() {
        bail!(
            "{} has no public key beside it; write it with: ssh-keygen -y -f {0} > {}",
            private.display(),
            public.display()
        );
    }
    private_file::create_directory_of(private)?;
    let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", &this_machine(), "-f"];
    let made = Command::new("ssh-keygen").args(arguments).arg(private).status().await;
    if !made.context("running ssh-keygen, which belongs to OpenSSH")?.success() {
        bail!("ssh-keygen could not make {}", private.display());
    }
    eprintln!("made the SSH key {}, without a passphrase", private.display());
    Ok(public)
}

/// The name of this machine, for the name of its key.
pub fn this_machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "this machine".to_owned() } else { name.to_owned() }
}
