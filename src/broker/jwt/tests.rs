use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dockhost_domain::ids::BackendId;
use dockhost_domain::timestamp::Timestamp;
use nkeys::KeyPair;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

fn signer() -> Signer {
    Signer::from_seed(&KeyPair::new_account().seed().unwrap().into()).unwrap()
}

fn backend(n: u128) -> BackendId {
    BackendId::from_uuid(Uuid::from_u128(n))
}

/// The request with these claims, signed by `key`.
fn request(key: &KeyPair, claims: &Value) -> String {
    let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn request_claims(server: &str) -> Value {
    json!({ "iss": server, "aud": "nats-authorization-request", "nats": {
        "type": "authorization_request", "version": 2, "server_id": { "id": server, "name": "n1" },
        "user_nkey": "UA", "client_info": { "host": "10.0.0.1" }, "connect_opts": { "auth_token": "secret", "protocol": 1 },
    } })
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn jwt_header_names_type_and_algorithm() {
    assert_eq!(URL_SAFE_NO_PAD.decode(HEADER).unwrap(), br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
}

#[test]
fn auth_request_read_keeps_the_token_out_of_debug() {
    let server = KeyPair::new_server();
    let request = AuthRequest::read(request(&server, &request_claims(&server.public_key())).as_bytes()).unwrap();
    assert_eq!((request.server.as_str(), request.user.as_str()), (server.public_key().as_str(), "UA"));
    assert_eq!(request.token.as_ref().map(ExposeSecret::expose_secret), Some("secret"));
    assert!(!format!("{request:?}").contains("secret"));
}

#[test]
fn auth_request_read_refuses_foreign_signatures_and_other_tokens() {
    let (server, other) = (KeyPair::new_server(), KeyPair::new_server());
    let forged = request(&other, &request_claims(&server.public_key()));
    assert!(matches!(AuthRequest::read(forged.as_bytes()), Err(InvalidRequest::Signature(_))));
    let mut foreign = request_claims(&server.public_key());
    foreign["nats"]["server_id"]["id"] = other.public_key().into();
    assert!(matches!(AuthRequest::read(request(&server, &foreign).as_bytes()), Err(InvalidRequest::OtherKind)));
    for text in ["", "a", "a.b", "a.b.c", &format!("{HEADER}.e30.AA"), &format!("{HEADER}..")] {
        assert!(AuthRequest::read(text.as_bytes()).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn signer_allow_confines_a_backend_to_its_subjects_and_max_lifetime() {
    let account = KeyPair::new_account();
    let signer = Signer::from_seed(&account.seed().unwrap().into()).unwrap();
    let request = AuthRequest { server: "NA".into(), user: "UA".into(), token: None, address: String::new() };
    let now = Timestamp::from_millis(1_000_000);
    let answer = claims(&signer.allow(&request, backend(7), now, Duration::from_secs(3600)).unwrap());
    assert_eq!(
        (&answer["iss"], &answer["sub"], &answer["aud"]),
        (&json!(account.public_key()), &json!("UA"), &json!("NA"))
    );
    let user = claims(answer["nats"]["jwt"].as_str().unwrap());
    assert_eq!((&user["sub"], &user["aud"]), (&json!("UA"), &json!("AGENTS")));
    assert_eq!(user["exp"], json!(1_000 + 600));
    let id = "00000000-0000-0000-0000-000000000007";
    assert_eq!(
        user["nats"],
        json!({
            "pub": { "allow": [
                format!("dockhost.hello.{id}"),
                format!("dockhost.confirm.{id}"),
                format!("dockhost.report.{id}"),
                format!("dockhost.heartbeat.{id}"),
                format!("$JS.API.CONSUMER.MSG.NEXT.ASSIGNMENTS.{id}"),
            ] },
            "sub": { "allow": [format!("_INBOX.{id}.>")] },
            "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
        })
    );
}

#[test]
fn signer_deny_issues_no_user() {
    let request = AuthRequest { server: "NA".into(), user: "UA".into(), token: None, address: String::new() };
    let answer = claims(&signer().deny(&request, "no", Timestamp::from_millis(0)).unwrap());
    assert_eq!(answer["nats"], json!({ "error": "no", "type": "authorization_response", "version": 2 }));
}

#[test]
fn signer_from_seed_accepts_account_seeds_only() {
    let user = KeyPair::new_user().seed().unwrap();
    assert!(matches!(Signer::from_seed(&user.into()), Err(SignError::NotAnAccount)));
    assert!(matches!(Signer::from_seed(&"SA".into()), Err(SignError::Seed(_))));
}

#[test]
fn check_token_is_accepted_for_a_moment_and_from_the_same_seed_only() {
    let (signer, other, now) = (signer(), signer(), Timestamp::from_millis(1_000_000));
    let token = signer.check_token(now).unwrap();
    assert!(signer.made_check_token(&token, now.after(Duration::from_secs(30))));
    assert!(!signer.made_check_token(&token, now.after(Duration::from_secs(31))));
    assert!(!other.made_check_token(&token, now));
    assert!(!signer.made_check_token(&token.replace("1000000", "1000001"), now));
    assert!(!signer.made_check_token("secret", now));

    let server = KeyPair::new_server();
    let request = AuthRequest::read(request(&server, &request_claims(&server.public_key())).as_bytes()).unwrap();
    let response = claims(&signer.allow_check(&request, now).unwrap());
    let user = claims(response["nats"]["jwt"].as_str().unwrap());
    let only = json!({ "allow": [CHECK_SUBJECT] });
    assert_eq!((&user["nats"]["pub"], &user["nats"]["sub"], &user["exp"]), (&only, &only, &json!(1030)));
}
