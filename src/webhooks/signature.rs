//! The signature of a delivery, as the Standard Webhooks specification says, so that its libraries verify it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockhost_domain::timestamp::Timestamp;
use dockhost_domain::webhook::SigningSecret;
use rand::RngCore;

/// What secrets begin with.
const PREFIX: &str = "whsec_";
const KEY_BYTES: usize = 32;

/// A new secret.
#[must_use]
pub fn generate() -> SigningSecret {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    SigningSecret::new(format!("{PREFIX}{}", STANDARD.encode(key)))
}

/// The value of the header `webhook-signature`: a signature with each of the secrets, separated by spaces. Secrets that
/// are not of the form of [`generate`] are left out.
#[must_use]
pub fn sign<'a>(
    secrets: impl IntoIterator<Item = &'a SigningSecret>,
    message_id: &str,
    time: Timestamp,
    body: &[u8],
) -> String {
    let one = |secret: &SigningSecret| {
        let key = STANDARD.decode(secret.expose().strip_prefix(PREFIX)?).ok()?;
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key));
        context.update(format!("{message_id}.{}.", time.seconds()).as_bytes());
        context.update(body);
        Some(format!("v1,{}", STANDARD.encode(context.sign())))
    };
    secrets.into_iter().filter_map(one).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the specification's libraries.
    #[test]
    fn sign_known_message_gives_the_known_signature() {
        let secret = SigningSecret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let time = Timestamp::from_millis(1_614_265_330_999);
        let body = br#"{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign([&secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", time, body), expected);
        let both = sign([&generate(), &secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", time, body);
        let (new, old) = both.split_once(' ').unwrap();
        assert!(new.starts_with("v1,") && new != expected && old == expected, "{both}");
    }

    #[test]
    fn generate_gives_different_secrets_of_32_bytes() {
        let (one, other) = (generate(), generate());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one.expose().strip_prefix("whsec_").unwrap()).unwrap().len(), 32);
    }
}
