//! OpenSSH public keys as text: `type base64 comment`. Whoever makes an event has checked them.

/// A key as its type and its base64 text. The comment is often a mail address or the name of a person's machine, and no
/// backend needs it.
#[must_use]
pub fn without_comment(key: &str) -> String {
    key.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Whether two texts are the same key: comments don't count.
#[must_use]
pub fn is_same_key(one: &str, other: &str) -> bool {
    one.split_whitespace().take(2).eq(other.split_whitespace().take(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_key_has_the_same_type_and_text_whatever_its_comment() {
        assert!(is_same_key("ssh-ed25519 AAAA ada@laptop", "ssh-ed25519  AAAA"));
        assert!(
            !is_same_key("ssh-ed25519 AAAA", "ssh-ed25519 AAAB") && !is_same_key("ssh-rsa AAAA", "ssh-ed25519 AAAA")
        );
        assert_eq!(without_comment("ssh-ed25519 AAAA ada's laptop"), "ssh-ed25519 AAAA");
    }
}
