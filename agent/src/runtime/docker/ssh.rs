//! Tests whether an SSH server answers on a published port.
//!
//! An open port proves nothing, because the engine's proxy accepts connections before the server listens. The loopback
//! address is tried first; an agent in a container can't reach the host there and needs `lan_ip`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Time for a server to send its greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a server greets on one of the addresses; takes at most [`GREETING_TIMEOUT`] for each.
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
    // Without an identification string the server would log a failed connection.
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
    async fn is_ready_only_after_an_ssh_greeting() {
        assert!(is_ready(server(b"SSH-2.0-x\r\n").await, None).await);
        assert!(!is_ready(server(b"HTTP/1.1 200 OK\r\n").await, None).await);
        // Accepts and closes at once, like the engine's proxy while no server listens.
        assert!(!is_ready(server(b"").await, None).await);
    }
}
