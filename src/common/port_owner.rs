//! Who holds a port that we want: an error message that says more than "address in use".
//!
//! In: an address. Out: the process that listens there, as the kernel's tables tell (Linux), or just the address.

use std::fs;
use std::net::SocketAddr;

/// What to say when `address` can't be listened on.
#[must_use]
pub fn explain(address: SocketAddr) -> String {
    match find_owner(address.port()) {
        Some(owner) => format!("{address} can't be listened on: {owner} listens there"),
        None => format!("{address} can't be listened on"),
    }
}

/// The name and number of the process that listens on a port.
fn find_owner(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| table.lines().filter_map(|line| socket_inode(line, port)).collect::<Vec<_>>())
        .collect();
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid: u32 = process.file_name().to_str()?.parse().ok()?;
        let holds = fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|fd| {
            let target = fs::read_link(fd.path()).unwrap_or_default();
            inodes.iter().any(|inode| target.as_os_str() == format!("socket:[{inode}]").as_str())
        });
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        holds.then(|| format!("{} (process {pid})", name.trim()))
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
    fn the_holder_of_a_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = explain(listener.local_addr().unwrap());
        assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
    }
}
