//! Tries at start what the broker's access rules have to refuse and to accept: a connection without a key, and one that
//! this server's auth callout admits. Both need the callout to answer.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ClientError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::jwt::{CHECK_SUBJECT, SignError, Signer};
use crate::common::clock;

/// How long one attempt may take. The broker gives the callout 3 s.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts until a connection counts as refused: another replica may have answered for the callout, and it may have
/// another seed.
const ATTEMPTS: usize = 10;

/// The broker's configuration does not fit this server's.
#[derive(Debug, thiserror::Error)]
pub enum UnfitAccess {
    /// Everybody who reaches it may connect.
    #[error(
        "the broker accepts connections without a key, although it has access rules: whoever reaches it can use it; \
         start nats-server with DockHost's nats.conf, without `no_auth_user`"
    )]
    Open,
    /// It would refuse every agent.
    #[error(
        "the broker refuses what DOCKHOST_CALLOUT_SEED signs, so no agent could connect: the broker's DOCKHOST_CALLOUT_KEY \
         has to be {issuer}, the public half of this seed"
    )]
    OtherCalloutKey {
        /// The public half.
        issuer: String,
    },
    /// The seed can't sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// How the broker answered an attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Accepted,
    Refused,
    /// It is away, or too slow to tell.
    None,
}

/// Checks the broker. The callout must be answering. What the broker does not answer is logged and not refused.
///
/// # Errors
/// [`UnfitAccess`].
pub async fn check(url: &str, signer: &Signer) -> Result<(), UnfitAccess> {
    match attempt(url, ConnectOptions::new()).await {
        Answer::Accepted => return Err(UnfitAccess::Open),
        Answer::Refused => {}
        Answer::None => tracing::warn!("could not check whether the broker refuses connections without a key"),
    }
    for _ in 0..ATTEMPTS {
        match attempt(url, ConnectOptions::with_token(signer.check_token(clock::now())?)).await {
            Answer::Accepted => return Ok(()),
            Answer::Refused => {}
            Answer::None => {
                tracing::warn!("could not check whether the broker accepts what DOCKHOST_CALLOUT_SEED signs");
                return Ok(());
            }
        }
    }
    Err(UnfitAccess::OtherCalloutKey { issuer: signer.issuer().to_owned() })
}

async fn attempt(url: &str, options: ConnectOptions) -> Answer {
    let (accepted, refused) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (by_event, refused_later) = (Arc::clone(&accepted), Arc::clone(&refused));
    let options = options.name("dockhost-check").connection_timeout(ATTEMPT_TIMEOUT).event_callback(move |event| {
        match event {
            Event::ServerError(ServerError::AuthorizationViolation) => refused_later.notify_one(),
            Event::ClientError(ClientError::Other(text))
                if text == ConnectErrorKind::AuthorizationViolation.to_string() =>
            {
                refused_later.notify_one();
            }
            // It forbids a subject, so it has accepted the connection.
            Event::ServerError(_) => by_event.notify_one(),
            _ => {}
        }
        std::future::ready(())
    });
    let servers: Vec<&str> = url.split(',').map(str::trim).collect();
    let client = match options.connect(servers).await {
        Ok(client) => client,
        Err(error) => {
            return match error.kind() {
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => Answer::Refused,
                _ => Answer::None,
            };
        }
    };
    // The client counts as connected before the broker has asked the callout.
    tokio::select! {
        echoed = echoes(&client) => if echoed { Answer::Accepted } else { Answer::None },
        () = accepted.notified() => Answer::Accepted,
        () = refused.notified() => Answer::Refused,
    }
}

/// Whether the client receives its own message.
async fn echoes(client: &Client) -> bool {
    let echo = async {
        let mut messages = client.subscribe(CHECK_SUBJECT).await.ok()?;
        client.publish(CHECK_SUBJECT, "".into()).await.ok()?;
        messages.next().await
    };
    timeout(ATTEMPT_TIMEOUT, echo).await.is_ok_and(|echoed| echoed.is_some())
}
