//! The embedded servers: they come back as they were, and say why when they can't start.

use std::path::Path;

use dockhost::dev::fetch;
use dockhost::dev::mongod::Mongod;
use dockhost::dev::nats::NatsServer;
use dockhost::dev::secrets::GeneratedSecrets;

use crate::harness::{Mongo, target_tmp};

#[tokio::test]
async fn mongod_comes_back_as_the_same_member_after_a_stop_and_after_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let program = fetch::find(&fetch::MONGOD, &target_tmp()).await.unwrap();
    let first = Mongod::start(&program, data.path()).await.unwrap();
    let uri = first.uri();
    first.stop().await;
    let second = Mongod::start(&program, data.path()).await.unwrap();
    assert_eq!(second.uri(), uri);
    second.kill().await;
    let third = Mongod::start(&program, data.path()).await.unwrap();
    assert_eq!(third.uri(), uri);
    third.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let data = tempfile::tempdir().unwrap();
    let error = Mongod::start(Path::new("/bin/false"), data.path()).await.unwrap_err().to_string();
    assert!(error.contains("mongod ended with exit status: 1") && error.contains("AVX"), "{error}");

    let program = fetch::find(&fetch::NATS_SERVER, &target_tmp()).await.unwrap();
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let secrets = GeneratedSecrets::generate().unwrap();
    let start = NatsServer::start(&program, data.path(), &secrets, held.local_addr().unwrap());
    let error = start.await.unwrap_err().to_string();
    assert!(error.contains("address already in use"), "{error}");
}

#[tokio::test]
async fn tests_share_the_database_server_and_not_the_database() {
    let (one, other) = (Mongo::shared().await, Mongo::shared().await);
    let server = |mongo: &Mongo| mongo.uri.replace(&mongo.database, "");
    assert_eq!(server(&one), server(&other));
    assert_ne!(one.database, other.database);
}
