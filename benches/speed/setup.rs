//! Prepares what is measured: users with running instances in a world of the harness.

use std::net::SocketAddr;

use dockhost_harness::World;
use dockhost_harness::http::Client;
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::load::{Body, request};

/// A signed-in user and the id of their instance.
pub type Owner = (Client, String);

pub fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// The replica's address, once for each client.
pub fn clients(world: &World, replica: usize, count: usize) -> Vec<SocketAddr> {
    vec![address(&world.replicas[replica].url); count]
}

/// Signs up users with one running instance each.
pub async fn owners(world: &World, prefix: &str, count: usize) -> Vec<Owner> {
    let mut owners = Vec::new();
    for number in 0..count {
        let client = world.user(&format!("{prefix}-{number}")).await;
        let id = running(&client).await;
        owners.push((client, id));
    }
    owners
}

/// Creates an instance and returns its id when it runs.
pub async fn running(client: &Client) -> String {
    let answer = client.create().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    id(answer.data()).to_owned()
}

/// A request that stops the owner's instance in even rounds and resumes it in odd ones, and waits only for the append.
pub fn toggle((client, instance): &Owner, round: u64) -> Request<Body> {
    let verb = if round.is_multiple_of(2) { "stop" } else { "resume" };
    let body = json!({ "instanceId": instance }).to_string();
    let mut request = request(Method::PUT, &format!("/api/v2/user/instance/{verb}"), client.token(), Some(body));
    request.headers_mut().insert("prefer", HeaderValue::from_static("respond-async"));
    request
}

pub fn id(instance: &Value) -> &str {
    instance["instanceId"].as_str().unwrap()
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
