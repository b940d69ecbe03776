//! Counts the SSH connections of the containers from outside: from the tables of TCP sockets of their network namespaces, which the
//! kernel shows below `/proc/<pid>/net` of a container's main process. The agent runs nothing in the
//! containers and asks none of their processes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::PathBuf;

use dockhost_domain::ids::InstanceId;

use super::DockerRuntime;
use super::errors::container_error;
use crate::container::{Container, ContainerState};
use crate::runtime::{Runtime as _, RuntimeError};

/// The SSH port in a container.
const SSH_PORT: u16 = 22;
/// `ESTABLISHED`, as the tables name it.
const ESTABLISHED: &str = "01";

impl DockerRuntime {
    /// Whether somebody is connected to each running container. Those whose sockets can't be seen are absent.
    pub(super) async fn count_ssh_connections(&self) -> Result<BTreeMap<InstanceId, bool>, RuntimeError> {
        let mut seen = BTreeMap::new();
        for container in self.list(None).await? {
            if !matches!(container.state, ContainerState::Starting | ContainerState::Running) {
                continue;
            }
            let Some(pid) = self.main_process(&container).await? else { continue };
            let id = container.id.to_string();
            let looked = tokio::task::spawn_blocking(move || is_connected(pid, &id)).await;
            match looked.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(is_connected) => {
                    *seen.entry(container.instance).or_default() |= is_connected;
                }
                Err(error) => {
                    tracing::debug!(container = %container.id, %error, "can't see the SSH connections of a container");
                }
            }
        }
        Ok(seen)
    }

    /// The id of the container's main process; `None` if it does not run any more.
    async fn main_process(&self, container: &Container) -> Result<Option<i64>, RuntimeError> {
        let inspected = self.docker.inspect_container(&container.id, None).await;
        match inspected.map_err(container_error("could not inspect the container")) {
            Ok(inspected) => Ok(inspected.state.and_then(|state| state.pid).filter(|pid| *pid > 0)),
            Err(RuntimeError::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether somebody is connected to the container with this main process.
fn is_connected(pid: i64, container_id: &str) -> io::Result<bool> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let found = ["tcp", "tcp6"].into_iter().try_fold(false, |found, table| {
        Ok::<_, io::Error>(found || has_connection(&process.join("net").join(table), SSH_PORT)?)
    })?;
    // Checked afterwards, too late for the process to have been another one before: an agent in a container of its own sees other
    // processes under these numbers, and a number is used again after a process has ended.
    let control_groups = std::fs::read_to_string(process.join("cgroup"))?;
    if control_groups.contains(container_id) {
        Ok(found)
    } else {
        Err(io::Error::other(format!("process {pid} is not of the container")))
    }
}

/// Whether a table of sockets has an established connection to this local port. Without IPv6 there is no table for it.
fn has_connection(table: &std::path::Path, port: u16) -> io::Result<bool> {
    match File::open(table) {
        Ok(file) => lists_connection(BufReader::new(file), port),
        Err(error) if error.kind() == ErrorKind::NotFound && table.ends_with("tcp6") => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same of an open table.
fn lists_connection(table: impl BufRead, port: u16) -> io::Result<bool> {
    // The first line has the names of the columns.
    for line in table.lines().skip(1) {
        if is_established(&line?, port) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a line of a table is an established connection to this local port:
/// `sl local_address rem_address st …`, with addresses such as `0100007F:0016`.
fn is_established(line: &str, port: u16) -> bool {
    let mut columns = line.split_ascii_whitespace().skip(1);
    let (local, _remote, state) = (columns.next(), columns.next(), columns.next());
    let local_port = local.and_then(|local| local.rsplit_once(':')).map(|(_, port)| u16::from_str_radix(port, 16));
    state == Some(ESTABLISHED) && local_port == Some(Ok(port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::path::Path;

    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn listed(lines: &[&str]) -> bool {
        lists_connection(format!("{HEADER}{}", lines.join("\n")).as_bytes(), 22).unwrap()
    }

    #[test]
    fn established_connection_to_the_port_is_found_in_both_tables() {
        let rest = "00000000:00000000 02:0000A1C5 00000000     0        0 48261 2 0000000000000000 20 4 30 10 -1";
        for line in [
            format!("   1: 020011AC:0016 010011AC:CEA2 01 {rest}"),
            format!("  12: 0000000000000000FFFF0000020011AC:0016 0000000000000000FFFF0000010011AC:CEA2 01 {rest}"),
        ] {
            assert!(listed(&[&line]), "{line}");
            assert!(listed(&["   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000", &line]));
        }
    }

    #[test]
    fn other_states_and_ports_are_no_connection() {
        for line in [
            "   0: 00000000:0016 00000000:0000 0A 00000000:00000000",
            "   1: 020011AC:0016 010011AC:CEA2 06 00000000:00000000",
            "   1: 020011AC:0016 010011AC:CEA2 08 00000000:00000000",
            "   2: 020011AC:0050 010011AC:CEA2 01 00000000:00000000",
            // From the container to another SSH server.
            "   3: 020011AC:CEA2 010011AC:0016 01 00000000:00000000",
            "   4: 020011AC:1600 010011AC:CEA2 01 00000000:00000000",
            "   5: 020011AC:10016 010011AC:CEA2 01 00000000:00000000",
            "garbage",
            "",
        ] {
            assert!(!listed(&[line]), "{line}");
        }
        assert!(!lists_connection(&b""[..], 22).unwrap());
    }

    /// The kernel's own tables, of this process.
    #[test]
    fn connection_of_this_machine_is_found_while_it_is_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let table = Path::new("/proc/self/net/tcp");
        assert!(!has_connection(table, port).unwrap());
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap();
        assert!(has_connection(table, port).unwrap());
        drop((client, accepted));
        assert!(has_connection(Path::new("/proc/self/net/none"), port).is_err());
    }

    #[test]
    fn process_that_is_not_of_the_container_is_an_error() {
        let own = i64::from(std::process::id());
        let error = is_connected(own, &"f".repeat(64)).unwrap_err();
        assert!(error.to_string().contains("is not of the container"), "{error}");
        assert!(is_connected(i64::MAX, "f").is_err());
    }
}
