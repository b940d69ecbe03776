//! Sign-ins by 64 clients, compared with the rate of the password hash alone on all processors; and the server's memory.

use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use dockhost_harness::World;
use hyper::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::load::{closed_loop, request};
use crate::report::{Figure, Target, short};
use crate::setup::{clients, median};
use crate::{Effort, usage};

const ROW: &str = "signin";
const CLIENTS: usize = 64;
const PEOPLE: usize = 8;

pub async fn run(effort: Effort) -> Vec<Figure> {
    let world = World::start(1).await;
    let pid = world.replicas[0].process.as_ref().unwrap().pid().unwrap();
    for number in 0..PEOPLE {
        world.user(&format!("person-{number}")).await;
    }
    let before = usage::memory(pid);
    let (mut ours, mut raw, mut ratios) = (vec![], vec![], vec![]);
    for _ in 0..effort.repetitions {
        let limit = tokio::task::spawn_blocking(move || hashes(effort.span)).await.unwrap();
        let load = closed_loop(clients(&world, 0, CLIENTS), effort.span, |client, _| {
            let body = json!({ "username": format!("person-{}", client % PEOPLE), "password": "correct horse" });
            request(Method::POST, "/api/v2/user/signin", None, Some(body.to_string()))
        })
        .await;
        assert_eq!(load.refused, 0, "some sign-ins failed");
        ratios.push(load.rate / limit);
        ours.push(load.rate);
        raw.push(limit);
    }
    vec![
        Figure::new(ROW, format!("{CLIENTS} clients"), format!("{}/s", short(median(ours))))
            .with_raw_limit(format!("{} hashes/s", short(median(raw))))
            .judged(median(ratios), Target::AtLeast(0.9)),
        Figure::new(
            ROW,
            "memory of the server",
            format!("{} MB before, {} MB at most", short(before), short(usage::most_memory(pid))),
        ),
    ]
}

/// Password verifications per second on all processors, without anything else.
fn hashes(span: Duration) -> f64 {
    let width = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let verifier = Argon2::default().hash_password(b"correct horse").unwrap().to_string();
    let verifier = verifier.as_str();
    let count: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..width)
            .map(|_| {
                scope.spawn(move || {
                    let parsed = PasswordHash::new(verifier).unwrap();
                    let (end, mut count) = (Instant::now() + span, 0);
                    while Instant::now() < end {
                        Argon2::default().verify_password(b"correct horse", &parsed).unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    f64::from(count) / span.as_secs_f64()
}
