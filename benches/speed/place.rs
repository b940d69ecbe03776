//! Where it is measured: a world of the harness, and people in it. In: how many of what. Out: addresses and tokens.

use std::net::SocketAddr;

use dockhost_harness::World;
use dockhost_harness::http::Client;
use hyper::header::HeaderValue;
use hyper::{Method, Request};
use serde_json::{Value, json};

use crate::load::{Body, request};

/// A signed-up person.
pub struct Person {
    pub client: Client,
    pub token: String,
}

pub fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// The replica's address, once for each client.
pub fn clients(world: &World, replica: usize, count: usize) -> Vec<SocketAddr> {
    vec![address(&world.replicas[replica].url); count]
}

/// Signs somebody up.
pub async fn person(world: &World, name: &str) -> Person {
    let client = world.client(0);
    let answer = client.sign_up(name).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let token = answer.data()["accessToken"].as_str().unwrap().to_owned();
    Person { client: client.with_token(&token), token }
}

/// Signs people up who have a running instance each; returns them with their instances' ids.
pub async fn owners(world: &World, prefix: &str, count: usize) -> Vec<(Person, String)> {
    let mut owners = Vec::new();
    for number in 0..count {
        let person = person(world, &format!("{prefix}-{number}")).await;
        let id = running(&person.client).await;
        owners.push((person, id));
    }
    owners
}

/// Makes an instance, and returns its id when it runs.
pub async fn running(client: &Client) -> String {
    let answer = client.create().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    id(answer.data()).to_owned()
}

/// Stops the owner's instance in even rounds and resumes it in odd ones; waits for nothing but the append.
pub fn toggle((person, instance): &(Person, String), round: u64) -> Request<Body> {
    let verb = if round.is_multiple_of(2) { "stop" } else { "resume" };
    let body = json!({ "instanceId": instance }).to_string();
    let mut request = request(Method::PUT, &format!("/api/v2/user/instance/{verb}"), Some(&person.token), Some(body));
    request.headers_mut().insert("prefer", HeaderValue::from_static("respond-async"));
    request
}

pub fn id(instance: &Value) -> &str {
    instance["instanceId"].as_str().unwrap()
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
