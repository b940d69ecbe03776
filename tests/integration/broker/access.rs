//! What a server tries at its start.

use dockhost::broker::access::{self, UnfitAccess};

use super::*;

#[tokio::test]
async fn check_of_this_projects_rules_passes() {
    let world = World::new().await;
    let signer = Signer::from_seed(&world.nats.secrets.callout).unwrap();
    access::check(&world.nats.url(), &signer).await.unwrap();
}

/// The broker gives connections without a key a user of their own, who may do everything or nothing.
#[tokio::test]
async fn check_of_a_broker_that_admits_strangers_fails() {
    for permissions in ["", ", permissions: { publish: { deny: \">\" }, subscribe: { deny: \">\" } }"] {
        let nats = Nats::with_config(|config| {
            let guests = format!("    GUESTS: {{ users: [ {{ user: guest, password: guest{permissions} }} ] }}\n");
            let backends = "    # Backends are not trusted.";
            let config = config.replace(backends, &format!("{guests}{backends}"));
            // The callout would refuse them.
            let (rules, _) = config.split_once("# The main server authenticates").unwrap();
            format!("{rules}\nno_auth_user: guest\n")
        })
        .await;
        let signer = Signer::from_seed(&nats.secrets.callout).unwrap();
        let refused = access::check(&nats.url(), &signer).await.unwrap_err();
        assert!(matches!(refused, UnfitAccess::Open), "{permissions}: {refused}");
    }
}
