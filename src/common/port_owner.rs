//! Which process occupies a port: for an error message that says more than "address in use". Reads `/proc` (Linux).

use std::fs;
use std::net::SocketAddr;

/// The message for an `address` that cannot be listened on.
#[must_use]
pub fn explain(address: SocketAddr) -> String {
    match find_owner(address.port()) {
        Some(owner) => format!("cannot listen on {address}: {owner} already listens there"),
        None => format!("cannot listen on {address}"),
    }
}

/// The name and id of the process that listens on a port.
fn find_owner(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| socket_inode(line, port)).collect::<Vec<_>>())
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let owns_socket = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|fd| {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            inodes.iter().any(|inode| target.as_os_str() == format!("socket:[{inode}]").as_str())
        });
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        owns_socket.then(|| format!("{} (process {pid})", name.trim()))
    })
}

/// The inode of the socket that a line of the table describes, if it listens on the port.
fn socket_inode(line: &str, port: u16) -> Option<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (_, hex) = local.rsplit_once(':')?;
    (*state == "0A" && u16::from_str_radix(hex, 16).ok()? == port).then(|| (*inode).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explain_names_the_process_that_listens() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = explain(listener.local_addr().unwrap());
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    }
}
