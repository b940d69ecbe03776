//! A database for one test, on the run's shared mongod.
//!
//! nextest runs each test in its own process. The first test that needs mongod starts it as a dependent of the runner,
//! the parent of all tests, and writes its URI to a file named after the run; the others read it. A file lock prevents
//! two starts. Under `cargo test` all tests share one process, and mongod depends on that.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::Path;

use dockhost::common::clock;
use dockhost::dev::{fetch, mongod};

/// A fresh, empty database.
#[derive(Debug, Clone)]
pub struct Mongo {
    /// The server's URI with this database as the default one.
    pub uri: String,
    /// The name of the database.
    pub database: String,
}

impl Mongo {
    pub async fn shared() -> Self {
        Self::on(&run().await, &format!("test-{}", clock::fresh_uuid()))
    }

    /// A database on a server whose URI has no database.
    pub(crate) fn on(server: &str, database: &str) -> Self {
        Self { uri: server.replace("/?", &format!("/{database}?")), database: database.to_owned() }
    }
}

/// The URI of the run's mongod.
async fn run() -> String {
    let (name, owner) = match std::env::var("NEXTEST_RUN_ID") {
        Ok(run) => (run, std::os::unix::process::parent_id()),
        Err(_) => (format!("process-{}", std::process::id()), std::process::id()),
    };
    let directory = super::target_tmp().join("mongo");
    std::fs::create_dir_all(&directory).unwrap();
    let mut file = locked(directory.join(format!("{name}.uri"))).await;
    let mut uri = String::new();
    file.read_to_string(&mut uri).unwrap();
    if uri.is_empty() {
        remove_old(&directory, &name);
        let program = fetch::find(&fetch::MONGOD, &super::target_tmp()).await.unwrap();
        uri = mongod::start_owned_by(owner, &program, &directory.join(&name)).await.unwrap();
        file.rewind().unwrap();
        file.write_all(uri.as_bytes()).unwrap();
    }
    uri
}

async fn locked(path: impl AsRef<Path>) -> File {
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).unwrap();
    tokio::task::spawn_blocking(move || {
        file.lock().unwrap();
        file
    })
    .await
    .unwrap()
}

/// Removes the files of earlier runs, except of one whose mongod still answers.
fn remove_old(directory: &Path, current: &str) {
    for entry in std::fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(current) || !path.is_dir() {
            continue;
        }
        let port = std::fs::read_to_string(path.join("port")).unwrap_or_default().trim().parse::<u16>().unwrap_or(0);
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let _ = std::fs::remove_dir_all(&path);
            let _ = std::fs::remove_file(path.with_extension("uri"));
        }
    }
}
