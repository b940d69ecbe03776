//! A NATS connection over a raw socket, which sends whatever it is told to.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::task::JoinHandle;

/// An authenticated connection. What the broker sends is read and discarded.
pub struct Raw {
    writer: OwnedWriteHalf,
    reader: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Raw {
    /// Connects with this API key.
    ///
    /// # Errors
    /// If the broker can't be reached or refuses the key.
    pub async fn connect(broker: SocketAddr, key: &str) -> io::Result<Self> {
        let (reader, mut writer) = TcpStream::connect(broker).await?.into_split();
        let mut reader = BufReader::new(reader);
        let hello = format!(
            "CONNECT {{\"auth_token\":\"{key}\",\"verbose\":false,\"pedantic\":false,\"headers\":true}}\r\nPING\r\n"
        );
        writer.write_all(hello.as_bytes()).await?;
        let mut line = String::new();
        while line != "PONG\r\n" {
            line.clear();
            if reader.read_line(&mut line).await? == 0 || line.starts_with("-ERR") {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, line));
            }
        }
        let reader = tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while reader.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
        });
        Ok(Self { writer, reader })
    }

    /// Sends bytes of the protocol.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.reader.is_finished() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.writer.write_all(bytes).await
    }

    /// Whether the broker has closed the connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.reader.is_finished()
    }
}

/// One published message.
#[must_use]
pub fn publish(subject: &str, reply: Option<&str>, body: &str) -> Vec<u8> {
    let reply = reply.map(|reply| format!(" {reply}")).unwrap_or_default();
    format!("PUB {subject}{reply} {}\r\n{body}\r\n", body.len()).into_bytes()
}
