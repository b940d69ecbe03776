//! Whether an SSH server answers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How an SSH server begins.
const BANNER: &[u8; 4] = b"SSH-";
/// How long a connection and the banner may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Whether something at this address begins as an SSH server does.
pub async fn answers(address: SocketAddr) -> bool {
    let look = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let mut banner = [0; BANNER.len()];
        stream.read_exact(&mut banner).await.ok()?;
        Some(banner == *BANNER)
    };
    matches!(timeout(TIMEOUT, look).await, Ok(Some(true)))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn answers_is_true_for_the_banner_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for (greeting, expected) in [(&b"SSH-2.0-OpenSSH_9.9\r\n"[..], true), (b"HTTP/1.1 400", false), (b"SS", false)]
        {
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(greeting).await.unwrap();
            };
            let (found, ()) = tokio::join!(answers(address), server);
            assert_eq!(found, expected, "{greeting:?}");
        }
        drop(listener);
        assert!(!answers(address).await);
    }
}
