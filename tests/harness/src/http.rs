//! A client of the API as a user would write one: JSON in and out, a token, and headers where they matter.

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// A key that anybody may log in with who has the other half; nobody has.
pub const SSH_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

/// A client of one replica, perhaps signed in.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// What came back.
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

    /// The error's code; empty if it is none.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The value of a cookie that was set.
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

    /// The same client, signed in.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The token that it is signed in with; none if it isn't.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The same client, at another replica.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), ..self.clone() }
    }

    /// Any request; a body of text is sent as it is.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// The same, for when the server may be gone.
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
        let bytes = response.bytes().await?;
        Ok(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    /// A request with a JSON body.
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

    /// Signs a person up by a name, with everything else made of it.
    pub async fn sign_up(&self, name: &str) -> Answer {
        let email = format!("{name}@example.org");
        let body = json!({ "username": name, "email": email, "password": "correct horse", "sshPublicKey": SSH_KEY });
        self.post("/api/v2/user/signup", body).await
    }

    /// Asks for an instance.
    pub async fn create(&self) -> Answer {
        self.post("/api/v2/user/instance", json!({})).await
    }
}
