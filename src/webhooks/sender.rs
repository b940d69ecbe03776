//! One attempt to deliver: a signed POST to a checked address, without redirects.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::{SigningSecret, WebhookUrl};
use ipnet::IpNet;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::address::AddressRules;
use super::resolver::{CheckedResolver, Lookups};
use super::signature::sign;

/// How long an attempt may take: name, connection and answer.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read, so that its connection can be used again; they are not looked at.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Idle connections that are kept to each receiver.
const MAX_IDLE: usize = 2;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The header with the id of a message, the same at each attempt.
pub const MESSAGE_ID: HeaderName = HeaderName::from_static("webhook-id");
/// The header with the time of an attempt, in seconds since 1970.
pub const TIME: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The header with the signatures.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Why an attempt failed; the text is for the webhook's user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The rules forbid one of the addresses of its host.
    #[error("its host has an address that webhooks may not call")]
    AddressNotAllowed,
    /// Its host is not known.
    #[error("its host name can't be resolved")]
    Unresolved,
    /// No connection, or it ended early.
    #[error("the receiver can't be reached, or ended the connection")]
    Unreachable,
    /// It took too long.
    #[error("the receiver did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// A redirection.
    #[error("the receiver redirects (status {0}); redirections are not followed")]
    Redirected(u16),
    /// Another status than 200 to 299.
    #[error("the receiver answered with status {0}")]
    Status(u16),
}

impl Failure {
    /// The status that the receiver answered, if it did.
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Redirected(status) | Self::Status(status) => Some(status),
            Self::AddressNotAllowed | Self::Unresolved | Self::Unreachable | Self::TimedOut => None,
        }
    }

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AddressNotAllowed => "address-not-allowed",
            Self::Unresolved => "unresolved",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::Redirected(_) => "redirected",
            Self::Status(_) => "status",
        }
    }
}

/// What is sent, and where to.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The receiver.
    pub url: &'a WebhookUrl,
    /// What it is signed with.
    pub secrets: &'a [SigningSecret],
    /// The message's id.
    pub message_id: &'a str,
    /// The time of this attempt.
    pub time: Timestamp,
    /// The JSON text.
    pub body: &'a [u8],
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The status of the receiver that took it, or why it failed.
    pub result: Result<u16, Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The status that the receiver answered, if it did.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.result.map_or_else(Failure::status, Some)
    }

    /// Why it failed, if it did; for the webhook's user.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.result.err().map(|failure| failure.to_string())
    }

    /// How long it took, in milliseconds.
    #[must_use]
    pub fn millis(&self) -> u64 {
        u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX)
    }
}

/// A client, and the rules of its resolver: a URL with an address instead of a name is not resolved.
struct Route {
    client: Client,
    rules: AddressRules,
}

impl Route {
    fn new(rules: AddressRules, lookups: Lookups, is_encrypted: bool) -> reqwest::Result<Self> {
        let resolver = CheckedResolver { rules: rules.clone(), lookups };
        let client = Client::builder()
            .user_agent(concat!("DockHost-Webhooks/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            // A proxy would resolve the name again.
            .no_proxy()
            .https_only(is_encrypted)
            .dns_resolver(Arc::new(resolver))
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Self { client, rules })
    }

    async fn post(&self, delivery: Delivery<'_>) -> Result<u16, Failure> {
        let url: Url = delivery.url.as_str().parse().map_err(|_| Failure::Unresolved)?;
        if address_in(&url).is_some_and(|address| !self.rules.allow(address)) {
            return Err(Failure::AddressNotAllowed);
        }
        let Delivery { secrets, message_id, time, body, .. } = delivery;
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(MESSAGE_ID, message_id)
            .header(TIME, time.seconds())
            .header(SIGNATURE, sign(secrets, message_id, time, body))
            .body(body.to_vec());
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        let mut read = 0;
        while let Ok(Some(part)) = response.chunk().await {
            read += part.len();
            if read > MAX_ANSWER_BYTES {
                break;
            }
        }
        match status.as_u16() {
            taken @ 200..300 => Ok(taken),
            redirected @ 300..400 => Err(Failure::Redirected(redirected)),
            other => Err(Failure::Status(other)),
        }
    }
}

/// The address in a URL that has one instead of a name. The parser has brought each form of it (`0x7f.1`) into this one.
fn address_in(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse().ok()
}

/// Why the client failed: what the resolver said, if it was that.
fn failure(error: &reqwest::Error) -> Failure {
    let mut at: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(found) = at {
        if let Some(failure) = found.downcast_ref::<Failure>() {
            return *failure;
        }
        at = found.source();
    }
    if error.is_timeout() { Failure::TimedOut } else { Failure::Unreachable }
}

/// Makes attempts.
pub struct Sender {
    encrypted: Route,
    plain: Route,
    takes_plain: bool,
}

impl Sender {
    /// A sender that may call public addresses over `https`, and those of these networks over `http` as well.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(allowed: Vec<IpNet>) -> reqwest::Result<Self> {
        let lookups = Lookups::default();
        Ok(Self {
            takes_plain: !allowed.is_empty(),
            encrypted: Route::new(AddressRules::public_and(allowed.clone()), lookups.clone(), true)?,
            plain: Route::new(AddressRules::only(allowed), lookups, false)?,
        })
    }

    fn route(&self, url: &WebhookUrl) -> &Route {
        if url.is_encrypted() { &self.encrypted } else { &self.plain }
    }

    /// Why a URL can never be called, if that is known without resolving its host.
    #[must_use]
    pub fn refusal(&self, url: &WebhookUrl) -> Option<&'static str> {
        let Ok(parsed) = url.as_str().parse::<Url>() else { return Some("is not a URL") };
        if !url.is_encrypted() && !self.takes_plain {
            return Some("must begin with https://");
        }
        let is_refused = address_in(&parsed).is_some_and(|address| !self.route(url).rules.allow(address));
        is_refused.then_some("has an address that webhooks may not call")
    }

    /// Makes an attempt.
    pub async fn send(&self, delivery: Delivery<'_>) -> Outcome {
        let began = Instant::now();
        let result = self.route(delivery.url).post(delivery).await;
        Outcome { result, took: began.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{HeaderMap, StatusCode, header};
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::super::signature;
    use super::*;

    type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

    /// A receiver that keeps what it gets, and answers a path by its name.
    async fn receiver() -> (u16, Received) {
        let received = Received::default();
        let keep = {
            let received = Arc::clone(&received);
            move |headers: HeaderMap, body: Bytes| {
                received.lock().unwrap().push((headers, body));
                std::future::ready(StatusCode::NO_CONTENT)
            }
        };
        let elsewhere = || async { (StatusCode::FOUND, [(header::LOCATION, "/taken")]) };
        let routes = Router::new()
            .route("/taken", post(keep))
            .route("/elsewhere", post(elsewhere))
            .route("/gone", post(|| async { StatusCode::GONE }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (port, received)
    }

    fn sender(allowed: &[&str]) -> Sender {
        crate::common::install_crypto();
        Sender::new(allowed.iter().map(|network| network.parse().unwrap()).collect()).unwrap()
    }

    async fn send(sender: &Sender, url: &str) -> Result<u16, Failure> {
        let (secrets, url) = ([signature::generate()], url.parse().unwrap());
        let time = Timestamp::from_millis(1_614_265_330_000);
        sender.send(Delivery { url: &url, secrets: &secrets, message_id: "one", time, body: b"{}" }).await.result
    }

    #[tokio::test]
    async fn delivery_has_the_headers_of_the_specification_and_the_signed_body() {
        let (port, received) = receiver().await;
        let sender = sender(&["127.0.0.0/8"]);
        let url = format!("http://127.0.0.1:{port}/taken").parse().unwrap();
        let secrets = [signature::generate(), signature::generate()];
        let time = Timestamp::from_millis(1_614_265_330_000);
        let outcome = sender.send(Delivery { url: &url, secrets: &secrets, message_id: "m", time, body: b"{}" }).await;
        assert_eq!(outcome.result, Ok(204));
        let received = received.lock().unwrap().clone();
        let [(headers, body)] = &received[..] else { panic!("{received:?}") };
        let header = |name: &str| headers[name].to_str().unwrap();
        assert_eq!((header("content-type"), &body[..]), ("application/json", &b"{}"[..]));
        assert_eq!((header("webhook-id"), header("webhook-timestamp")), ("m", "1614265330"));
        let signatures = sign(&secrets, "m", time, body);
        assert_eq!(header("webhook-signature"), signatures);
        assert_eq!(signatures.split(' ').count(), 2);
    }

    #[tokio::test]
    async fn redirection_is_not_followed_and_is_a_failure() {
        let (port, received) = receiver().await;
        let sender = sender(&["127.0.0.0/8", "::1/128"]);
        assert_eq!(send(&sender, &format!("http://localhost:{port}/taken")).await, Ok(204));
        received.lock().unwrap().clear();
        let to = |path: &str| format!("http://localhost:{port}/{path}");
        assert_eq!(send(&sender, &to("elsewhere")).await, Err(Failure::Redirected(302)));
        assert_eq!(send(&sender, &to("gone")).await, Err(Failure::Status(410)));
        assert_eq!(send(&sender, &to("absent")).await, Err(Failure::Status(404)));
        assert!(received.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn address_that_is_not_allowed_is_not_called_in_any_form() {
        let (port, received) = receiver().await;
        let sender = sender(&["10.0.0.0/8"]);
        for host in
            ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"]
        {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:{port}/taken");
                assert_eq!(send(&sender, &url).await, Err(Failure::AddressNotAllowed), "{url}");
            }
        }
        assert!(received.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn receiver_that_is_not_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert_eq!(send(&sender(&["127.0.0.1/32"]), &url).await, Err(Failure::Unreachable));
    }
}
