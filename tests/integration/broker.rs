//! The broker's door: who gets in, and what a backend can and can't do once it is in.

use crate::harness::Nats;

#[tokio::test]
async fn the_main_server_gets_in_by_its_key() {
    let nats = Nats::start().await;
    let broker = nats.main().await;
    assert!(broker.is_connected());
    broker.client().flush().await.unwrap();
}
