//! A client of the HTTP API: JSON bodies, a token and headers.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// A public SSH key whose private key does not exist.
pub const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// A paused replica does not answer.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of one replica, signed in if it has a token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The envelope's data.
    pub fn data(&self) -> &Value {
        &self.body["data"]
    }

    /// The error's code; empty if the answer is not an error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The value of a cookie that the answer sets.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.headers.get_all("set-cookie").iter().find_map(|cookie| {
            let (key, rest) = cookie.to_str().ok()?.split_once('=')?;
            (key == name).then(|| rest.split(';').next().unwrap_or_default().to_owned())
        })
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        dockhost::common::install_crypto();
        Self { http: reqwest::Client::new(), url: url.to_owned(), token: None }
    }

    /// The same client with this token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client, signed out.
    pub fn without_token(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The token, if signed in.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same client for another replica.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Sends a request; the body is sent unchanged.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// Like [`Client::send`], for a server that may be down.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        // A stream has no end.
        let is_stream = headers.get("content-type").is_some_and(|value| value == "text/event-stream");
        let bytes = if is_stream { vec![] } else { response.bytes().await?.to_vec() };
        Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// Begins a GET request; its answer is read as it comes.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.http.get(format!("{}{path}", self.url));
        let request = self.token.iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await
    }

    /// Sends a request with a JSON body.
    pub async fn json(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.send(method, path, &headers, Some(body.to_string().into_bytes())).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.json(Method::POST, path, &[], body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.json(Method::PUT, path, &[], body).await
    }

    pub async fn delete(&self, path: &str, body: Value) -> Answer {
        self.json(Method::DELETE, path, &[], body).await
    }

    /// Whether the read models hold the whole log, as this replica's `/health` says; otherwise its answer.
    pub async fn models_hold_log(&self) -> Result<(), String> {
        let health = self.try_send(Method::GET, "/health", &[], None);
        let answer = tokio::time::timeout(HEALTH_TIMEOUT, health).await.map_err(|elapsed| elapsed.to_string())?;
        let health = answer.map_err(|error| error.to_string())?.body;
        let hold = health["projections"].as_object().is_some_and(|models| models.values().all(|one| one["lag"] == 0));
        if hold { Ok(()) } else { Err(health.to_string()) }
    }

    /// Signs a user up; the other values derive from the name.
    pub async fn sign_up(&self, name: &str) -> Answer {
        let email = format!("{name}@example.org");
        let body = json!({ "username": name, "email": email, "password": "correct horse", "sshPublicKey": SSH_KEY });
        self.post("/api/v2/user/signup", body).await
    }

    /// Creates an instance.
    pub async fn create(&self) -> Answer {
        self.post("/api/v2/user/instance", json!({})).await
    }
}
