//! The embedded servers: they keep their data over restarts, and report why they can't start.

use std::path::Path;

use dockhost::dev::fetch;
use dockhost::dev::mongod::Mongod;
use dockhost::dev::nats::NatsServer;
use dockhost::dev::secrets::GeneratedSecrets;

use crate::harness::{Mongo, target_tmp};

#[tokio::test]
async fn mongod_restarted_after_stop_and_crash_is_the_same_member() {
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
async fn servers_that_do_not_start_report_why() {
    let data = tempfile::tempdir().unwrap();
    let error = Mongod::start(Path::new("/bin/false"), data.path()).await.unwrap_err().to_string();
    assert!(error.contains("mongod exited with exit status: 1") && error.contains("AVX"), "{error}");

    let program = fetch::find(&fetch::NATS_SERVER, &target_tmp()).await.unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let secrets = GeneratedSecrets::generate().unwrap();
    let start = NatsServer::start(&program, data.path(), &secrets, listener.local_addr().unwrap());
    let error = start.await.unwrap_err().to_string();
    assert!(error.contains("address already in use"), "{error}");
}

#[tokio::test]
async fn mongo_shared_twice_is_one_server_with_two_databases() {
    let (one, other) = (Mongo::shared().await, Mongo::shared().await);
    let server = |mongo: &Mongo| mongo.uri.replace(&mongo.database, "");
    assert_eq!(server(&one), server(&other));
    assert_ne!(one.database, other.database);
}
