//! The raw limits of authenticated reads: axum handlers that only verify the same token and run the same `find`. They
//! run in their own process, as DockHost does, which is configured by environment variables.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use bson::{Document, doc};
use dockhost::auth::token::{Audience, Tokens};
use dockhost::dev::process::{Child, Program};
use futures::TryStreamExt;
use mongodb::Collection;
use mongodb::action::Find;
use mongodb::options::{ClientOptions, ReadConcern};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The argument that makes the benchmark's program run as this server.
pub const ARGUMENT: &str = "--serve-bare";
/// The path of a page of all instances; `/` is the list of those of the caller.
pub const PAGE: &str = "/page";
/// As many documents as DockHost reads for a page of 50: one more, to know whether there is a next page.
const READ_FOR_A_PAGE: i64 = 51;
const READY: &str = "bare server at ";

struct Bare {
    tokens: Tokens,
    instances: Collection<Document>,
}

/// Whose token it is.
fn bearer(bare: &Bare, headers: &HeaderMap) -> Result<String, StatusCode> {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let read = bare.tokens.read(token.unwrap_or_default(), dockhost::common::clock::now());
    Ok(read.map_err(|_| StatusCode::UNAUTHORIZED)?.principal.to_string())
}

async fn answer(find: Find<'_, Document>) -> Result<Json<Value>, StatusCode> {
    let found: Result<Vec<Document>, _> = async { find.await?.try_collect().await }.await;
    let found = found.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(Json(json!({ "success": true, "message": "the instances", "data": found })))
}

async fn list(State(bare): State<Arc<Bare>>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    let filter = doc! { "userId": bearer(&bare, &headers)?, "status": { "$ne": "deleted" } };
    answer(bare.instances.find(filter).sort(doc! { "createdAt": 1, "_id": 1 })).await
}

async fn page(State(bare): State<Arc<Bare>>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    bearer(&bare, &headers)?;
    let filter = doc! { "status": { "$ne": "deleted" } };
    answer(bare.instances.find(filter).sort(doc! { "_id": 1 }).limit(READ_FOR_A_PAGE)).await
}

/// Serves until the process is killed.
pub async fn serve() {
    let set = |name: &str| std::env::var(name).unwrap();
    let mut options = ClientOptions::parse(set("MONGODB_URI")).await.unwrap();
    options.max_pool_size = Some(32);
    options.read_concern = Some(ReadConcern::majority());
    let database = mongodb::Client::with_options(options).unwrap().database(&set("DOCKHOST_DATABASE"));
    let tokens = Tokens::new(Audience::User, &set("USER_ACCESS_TOKEN_SECRET").into());
    let bare = Arc::new(Bare { tokens, instances: database.collection("instances_v1") });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{READY}{}", listener.local_addr().unwrap());
    axum::serve(listener, Router::new().route("/", get(list)).route(PAGE, get(page)).with_state(bare)).await.unwrap();
}

/// Starts the server as a child process; returns it with its URL.
pub async fn start(env: Vec<(&'static str, String)>, log: std::path::PathBuf) -> (Child, String) {
    let path = std::env::current_exe().unwrap();
    let args = vec![ARGUMENT.into()];
    let mut process = Program { name: "bare", path, args, env, log: log.clone() }.start().unwrap();
    let url = process
        .wait_until_ready(Duration::from_secs(30), async |_| {
            let text = std::fs::read_to_string(&log).ok()?;
            let line = text.lines().find(|line| line.starts_with(READY))?;
            Some(format!("http://{}", line.strip_prefix(READY)?))
        })
        .await
        .unwrap();
    (process, url)
}
