//! Whether an SSH server is_ready behind a published port.
//!
//! In: the port. Out: yes or no, within two seconds. An open port is not enough: the engine's proxy accepts before
//! the server inside listens. The loopback address comes first; an agent that lives in a container itself doesn't reach
//! the host that way and takes the address that people use.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server may take to greet.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a greeting comes from one of the addresses.
pub(super) async fn is_ready(port: u16, lan_ip: Option<&str>) -> bool {
    for address in ["127.0.0.1"].into_iter().chain(lan_ip) {
        if matches!(tokio::time::timeout(GREETING_TIMEOUT, greeting(address, port)).await, Ok(Ok(true))) {
            return true;
        }
    }
    false
}

async fn greeting(address: &str, port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect((address, port)).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    // Say who we are before leaving, so that the server doesn't log an attack.
    stream.write_all(b"SSH-2.0-dockhost\r\n").await?;
    Ok(head == *b"SSH-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn server(greeting: &'static [u8]) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(greeting).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn only_a_greeting_of_ssh_counts() {
        assert!(is_ready(server(b"SSH-2.0-x\r\n").await, None).await);
        assert!(!is_ready(server(b"HTTP/1.1 200 OK\r\n").await, None).await);
        // Accepts and closes at once, like the engine's proxy in front of nobody.
        assert!(!is_ready(server(b"").await, None).await);
    }
}
