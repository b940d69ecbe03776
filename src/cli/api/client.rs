//! The client of the API: where the server is, who is signed in, and what its answers
//! mean for the exit code.

use std::time::Duration;

use anyhow::bail;
use clap::Args;
use dockhost_environment::variable;
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::output::{self, Output};
use super::session;

/// The API of `dockhost dev`.
const DEFAULT_SERVER: &str = "http://127.0.0.1:3001";
/// A command at the server waits for the log at most as long.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Where the server is.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// URL of the API [default: the only server that you are signed in at, else http://127.0.0.1:3001].
    #[arg(long, env = "DOCKHOST_URL", value_name = "URL")]
    server: Option<Url>,
}

/// Where the server is, and how to print what it answers.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerArgs,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

impl ApiArgs {
    /// The server with this URL, if there is one; results are tables.
    pub fn of(server: Option<Url>) -> Self {
        Self { server: ServerArgs { server }, output: Output::Table }
    }

    /// The URL of the API.
    ///
    /// # Errors
    /// The stored sessions can't be read.
    pub fn server(&self) -> anyhow::Result<Url> {
        match &self.server.server {
            Some(server) => Ok(server.clone()),
            None => Ok(session::only_server()?.unwrap_or(DEFAULT_SERVER.parse()?)),
        }
    }
}

/// Why a subcommand failed; each has its own exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no token, or the server does not accept it.
    #[error("not signed in at {0}; run `dockhost login`, or set DOCKHOST_TOKEN")]
    NotSignedIn(String),
    /// The server refused the request.
    #[error("{message} ({code}, request {request})")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The error code.
        code: String,
        /// What the caller can do.
        message: String,
        /// The id of the request, as in the server's log.
        request: String,
    },
    /// There is no such thing; nothing was asked for by its id.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// The server did not answer.
    #[error("{0} can't be reached: {1}")]
    Unreachable(String, #[source] reqwest::Error),
    /// The answer is not one of this API.
    #[error("{0} is not the API of a DockHost server")]
    NotTheApi(String),
}

impl Failure {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotSignedIn(_) => 3,
            Self::Refused { code, .. } if ["forbidden", "insufficient_scope"].contains(&code.as_str()) => 3,
            Self::Refused { status, .. } if matches!(*status, StatusCode::NOT_FOUND) => 4,
            Self::NotFound(_) => 4,
            Self::Unreachable(..) | Self::NotTheApi(_) => 5,
            Self::Refused { .. } => 1,
        }
    }
}

/// A name, an id or a subject as a part of a path.
///
/// # Errors
/// No name or id has these characters.
pub fn path_segment(text: &str) -> anyhow::Result<&str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // `..` would be another path.
    if text.is_empty() || text.starts_with('.') || !text.chars().all(is_allowed) {
        bail!("{text:?} is neither a name nor an id");
    }
    Ok(text)
}

/// A client of one server.
pub struct Client {
    http: reqwest::Client,
    server: Url,
    token: Option<SecretString>,
    output: Output,
}

impl Client {
    /// A client that is signed in: with DOCKHOST_TOKEN, else with the stored session of this server.
    ///
    /// # Errors
    /// The stored sessions can't be read.
    pub fn new(args: &ApiArgs) -> anyhow::Result<Self> {
        let token = match variable("DOCKHOST_TOKEN") {
            Some(token) => Some(token.into()),
            None => session::read(&args.server()?)?,
        };
        Ok(Self { token, ..Self::signed_out(args)? })
    }

    /// A client that is not signed in.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn signed_out(args: &ApiArgs) -> anyhow::Result<Self> {
        let server = args.server()?;
        let mut http = reqwest::Client::builder().timeout(TIMEOUT);
        // No proxy reaches this machine.
        if matches!(server.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            http = http.no_proxy();
        }
        Ok(Self { http: http.build()?, server, token: None, output: args.output })
    }

    /// Sends a request; returns the `data` of the answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value, Failure> {
        let (_, body) = self.exchange(method, path, change).await?;
        self.data(&body)
    }

    /// The `data` of a successful answer.
    fn data(&self, body: &[u8]) -> Result<Value, Failure> {
        let body: Result<Value, _> = serde_json::from_slice(body);
        body.map(|mut body| body["data"].take()).map_err(|_| Failure::NotTheApi(self.server().to_owned()))
    }

    /// Sends a request; returns the headers and the body of a successful answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        change: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<(HeaderMap, Vec<u8>), Failure> {
        let server = self.server();
        let mut request = self.http.request(method, format!("{server}/api/v2/{path}"));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        let unreachable = |error: reqwest::Error| Failure::Unreachable(server.to_owned(), error.without_url());
        let answer = change(request).send().await.map_err(unreachable)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok((headers, bytes.to_vec()));
        }
        let body: Value = serde_json::from_slice(&bytes).map_err(|_| Failure::NotTheApi(server.to_owned()))?;
        let text = |value: &Value| output::plain(value.as_str().unwrap_or_default());
        let (code, request) = (text(&body["error"]["code"]), text(&body["error"]["requestId"]));
        match code.as_str() {
            "unauthorized" => Err(Failure::NotSignedIn(server.to_owned())),
            "" => Err(Failure::NotTheApi(server.to_owned())),
            _ => Err(Failure::Refused { status, code, message: text(&body["message"]), request }),
        }
    }

    /// Reads.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<Value, Failure> {
        Ok(self.get_with_position(path, query).await?.0)
    }

    /// Reads; returns the position in the answer's header as well.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_with_position(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
    ) -> Result<(Value, Option<String>), Failure> {
        let (headers, body) = self.exchange(Method::GET, &self.with_query(path, query), |request| request).await?;
        let position = headers.get("dockhost-position").and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((self.data(&body)?, position))
    }

    /// Reads as another media type than JSON.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn get_text(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        media_type: &str,
    ) -> Result<Vec<u8>, Failure> {
        let change = |request: RequestBuilder| request.header(ACCEPT, media_type);
        Ok(self.exchange(Method::GET, &self.with_query(path, query), change).await?.1)
    }

    fn with_query(&self, path: &str, query: &[(&str, Option<String>)]) -> String {
        let mut url = self.server.clone();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(query.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?))));
        format!("{path}?{}", url.query().unwrap_or_default())
    }

    /// The server's URL, without a slash at its end.
    fn server(&self) -> &str {
        self.server.as_str().trim_end_matches('/')
    }

    /// All items of a list that has no pages.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn array(&self, path: &str) -> Result<Vec<Value>, Failure> {
        match self.get(path, &[]).await? {
            Value::Array(items) => Ok(items),
            _ => Err(Failure::NotTheApi(self.server().to_owned())),
        }
    }

    /// All items of a list, page by page.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn list(&self, path: &str, query: &[(&str, Option<String>)]) -> Result<Vec<Value>, Failure> {
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let mut query = query.to_vec();
            query.extend([("limit", Some("200".to_owned())), ("cursor", cursor)]);
            let mut page = self.get(path, &query).await?;
            match page["items"].take() {
                Value::Array(more) => items.extend(more),
                _ => return Err(Failure::NotTheApi(self.server.to_string())),
            }
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// Changes something.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn put(&self, path: &str, body: &Map<String, Value>) -> Result<Value, Failure> {
        self.send(Method::PUT, path, |request| request.json(body)).await
    }

    /// Does something.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn post(&self, path: &str, body: &Map<String, Value>) -> Result<Value, Failure> {
        self.send(Method::POST, path, |request| request.json(body)).await
    }

    /// The id of what has this id, this `username` or, if it is a group, this `name`.
    ///
    /// # Errors
    /// [`Failure`]; [`Failure::NotFound`] if nothing has the name.
    pub async fn find(&self, path: &str, what: &'static str, id_or_name: &str) -> Result<String, Failure> {
        if uuid::Uuid::try_parse(id_or_name).is_ok() {
            return Ok(id_or_name.to_owned());
        }
        let items = self.list(path, &[("search", Some(id_or_name.to_owned()))]).await?;
        let found = items.iter().find(|item| item["username"] == id_or_name || item["name"] == id_or_name);
        found.and_then(|item| Some(item["id"].as_str()?.to_owned())).ok_or(Failure::NotFound(what))
    }

    /// As [`Client::find`], if an id or a name is given.
    ///
    /// # Errors
    /// As [`Client::find`].
    pub async fn find_if_given(
        &self,
        path: &str,
        what: &'static str,
        id_or_name: Option<&str>,
    ) -> Result<Option<String>, Failure> {
        match id_or_name {
            Some(id_or_name) => self.find(path, what, id_or_name).await.map(Some),
            None => Ok(None),
        }
    }

    /// Prints items, as rows of these columns or as JSON.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn print_list(&self, items: &[Value], columns: &[(&str, &str)]) -> anyhow::Result<()> {
        output::list(self.output, items, columns)
    }

    /// Prints one thing, all members or as JSON.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn print_one(&self, item: &Value) -> anyhow::Result<()> {
        output::one(self.output, item)
    }
}
